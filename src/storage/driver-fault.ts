/** The user and password of a URL, as drivers like to quote them; up to the last `@`, because passwords may have one. */
const CREDENTIALS = /(\w+:\/\/)[^\s"'<>]*@/g;
/** `password=…`, `"authToken": "…"`, `PGPASSWORD='…'`: names that end in something secret, and what they are set to. */
const SECRET_PAIR =
  /([\w-]*(?:password|passwd|passphrase|pwd|pass|secret|token|auth|credentials?|api_?key)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&)}\]]+)/gi;
/** How Redis sets its password, and how it quotes the words of a command. */
const REDIS_WORDS = /(\b(?:requirepass|masterauth)\s+|with args beginning with:\s*)\S.*/gi;

/**
 * What a driver threw, fit to be a `cause`: its name, message and code with the credentials blotted out, and none of the
 * fields that drivers hang on their errors (the command with its arguments, the connection with its password).
 */
export function driverFault(error: unknown): Error {
  const { name, message, code, stack } = describe(error);
  const fault = new Error(blotted(message));
  fault.name = name;
  if (code !== undefined) Object.assign(fault, { code });
  const trace = stack?.split('\n').filter((line) => /^\s+at /.test(line));
  if (trace?.length) fault.stack = [`${name}: ${fault.message}`, ...trace].join('\n');
  return fault;
}

/** The text without what could open a door: for messages that quote a driver. */
export function blotted(text: string): string {
  return text.replace(CREDENTIALS, '$1***@').replace(SECRET_PAIR, '$1***').replace(REDIS_WORDS, '$1***');
}

interface Description {
  readonly name: string;
  readonly message: string;
  readonly code?: string | undefined;
  readonly stack?: string | undefined;
}

function describe(error: unknown): Description {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  // Node gives one empty error for a host of several addresses, with what happened at each of them inside.
  const parts = error instanceof AggregateError ? error.errors.map((part) => describe(part).message) : [];
  const message = [error.message, ...parts].filter(Boolean).join('; ');
  const { code } = error as { code?: unknown };
  return {
    name: error.name,
    message: message || String(code ?? error.name),
    stack: error.stack,
    ...(typeof code === 'string' && { code }),
  };
}
