import { inspect } from 'node:util';

/** Longer ones are cut: errors of HTTP clients hold whole pages. */
const MAX_LENGTH = 500;
/** An object is shown, not walked: it may be a response with everything that hangs from it. */
const SHOWN = {
  depth: 1,
  maxArrayLength: 10,
  maxStringLength: 200,
  breakLength: Number.POSITIVE_INFINITY,
  compact: true,
  customInspect: false,
};

/** How far causes are followed. */
const MAX_CAUSES = 2;

/** One line for humans about whatever was thrown: the message of an error, else its text. Never throws. */
export function inWords(thrown: unknown): string {
  try {
    const text = textOf(thrown);
    return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
  } catch {
    return 'something that cannot be printed'; // A hostile getter. The value itself is kept where it matters.
  }
}

/** With the causes: "fetch failed" alone says nothing. */
function textOf(thrown: unknown, causes = MAX_CAUSES): string {
  if (typeof thrown !== 'object' || thrown === null) return String(thrown);
  if (!('message' in thrown)) return inspect(thrown, SHOWN);
  const text = String(thrown.message) || String((thrown as Partial<Error>).name ?? 'Error');
  const cause = causes > 0 && 'cause' in thrown ? thrown.cause : undefined;
  if (cause === undefined) return text;
  const inner = textOf(cause, causes - 1);
  return text.includes(inner) ? text : `${text} (${inner})`; // Most wrappers say it already.
}
