import { causesOf, innerErrors, MAX_ERRORS } from './error-chain.js';
import type { Failure, FailureRule, RuleAnswer } from './failure.js';
import { type FailureKind, gravest, isBug, kindOf, traitsOf } from './known-failures.js';

/** A kind that the host gives, if it is one of `FailureKind`. */
const byKind: FailureRule = ({ kind }) => {
  const traits = kind === undefined ? undefined : traitsOf(kind);
  return traits && { kind: kind as string, ...traits };
};

/**
 * The outermost error in the chain that is known by its code, HTTP status or name: those of the system and of undici, our
 * own, `TimeoutError`, `AbortError`. Of an `AggregateError` the gravest part.
 */
const byError: FailureRule = (failure) => answer(failure, kindIn(failure.error, new Set()));

/** What code that is wrong throws: `TypeError`, `ReferenceError` and their kin. Asked last, because `fetch` throws them, too. */
const byClass: FailureRule = (failure) =>
  answer(failure, causesOf(failure.error).some(isBug) ? ('bug' satisfies FailureKind) : undefined);

/**
 * Rules for what applications meet. Put your own in front: `rules: [mine, ...defaultRules]`. A failure that none of them
 * knows is of the kind that the host gave, else `unknown`; major, and not transient.
 */
export const defaultRules: readonly FailureRule[] = Object.freeze([byKind, byError, byClass]);

/** Would the same succeed a little later, as far as an error says? */
export function isTransient(error: unknown): boolean {
  const kind = kindIn(error, new Set());
  return kind !== undefined && traitsOf(kind)?.transient === true;
}

/** A word of the host's own stays what it is called; what is known of the error counts for it. */
function answer({ kind: given }: Failure, kind: FailureKind | undefined): RuleAnswer | undefined {
  return kind && { kind: given ?? kind, ...traitsOf(kind) };
}

function kindIn(error: unknown, seen: Set<unknown>): FailureKind | undefined {
  if (error === undefined || seen.has(error) || seen.size >= MAX_ERRORS) return undefined;
  seen.add(error);
  const own = kindOf(error);
  if (own !== undefined) return own;
  return gravest(innerErrors(error).flatMap((inner) => kindIn(inner, seen) ?? []));
}
