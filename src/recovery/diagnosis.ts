import { propertyOf } from '../policies/http-failure.js';
import { inWords } from '../policies/in-words.js';
import { blotted } from '../storage/driver-fault.js';
import { causesOf } from './error-chain.js';
import {
  type Cause,
  type Diagnosis,
  type Failure,
  type FailureRule,
  type RuleAnswer,
  SEVERITIES,
  type Severity,
} from './failure.js';
import { fingerprintOf } from './fingerprint.js';
import type { RecentFailures } from './recent-failures.js';

/** What the host sees besides the error. */
export interface Signals {
  /** Names of circuits that are not closed. */
  readonly openCircuits?: readonly string[];
  /** Names of health checks that fail. */
  readonly failingChecks?: readonly string[];
}

/** What failures are diagnosed with. */
export interface DiagnosisParts {
  readonly rules: readonly FailureRule[];
  readonly signals: (() => Signals | PromiseLike<Signals>) | undefined;
  readonly recent: RecentFailures;
  /** Hears of a rule, or of `signals`, that failed: the diagnosis goes on without it. */
  readonly onFault: (part: 'rule' | 'signals', error: unknown) => void;
}

const MAX_CAUSES = 10;
const UNKNOWN: RuleAnswer = { kind: 'unknown' };

/** What is known of a failure. Changes nothing, and never rejects: what cannot be told is left out, and reported. */
export async function diagnose(failure: Failure, parts: DiagnosisParts): Promise<Diagnosis> {
  const { kind, transient = false, severity, causes = [] } = await firstAnswer(failure, parts);
  const fingerprint = fingerprintOf(failure.error);
  return {
    kind,
    severity: severity ?? (transient ? 'minor' : 'major'),
    transient,
    causes: ranked([
      ...from('rule', causes),
      ...(await signalled(parts)),
      ...fromError(failure.error),
      ...repeated(fingerprint, parts.recent),
    ]),
    ...(fingerprint !== undefined && { fingerprint }),
  };
}

async function firstAnswer(failure: Failure, { rules, onFault }: DiagnosisParts): Promise<RuleAnswer> {
  for (const rule of rules) {
    try {
      const answer = await rule(failure);
      if (answer !== undefined) return requireAnswer(answer);
    } catch (error) {
      onFault('rule', error); // One rule that is wrong must not keep a subject from being recovered.
    }
  }
  return failure.kind === undefined ? UNKNOWN : { kind: failure.kind };
}

function requireAnswer(answer: RuleAnswer): RuleAnswer {
  const { kind, severity, transient, causes } = answer ?? {};
  const isOne =
    typeof kind === 'string' &&
    kind !== '' &&
    (severity === undefined || SEVERITIES.includes(severity satisfies Severity)) &&
    (transient === undefined || typeof transient === 'boolean') &&
    (causes === undefined || (Array.isArray(causes) && causes.every((cause) => typeof cause === 'string')));
  if (isOne) return answer;
  throw new TypeError(`A rule answered ${inWords(answer)}: { kind, severity?, transient?, causes? } or undefined.`);
}

async function signalled({ signals, onFault }: DiagnosisParts): Promise<Cause[]> {
  if (signals === undefined) return [];
  try {
    const { openCircuits = [], failingChecks = [] } = await signals();
    return [
      ...from(
        'circuit',
        Array.from(openCircuits, (name) => `circuit "${name}" is open`),
      ),
      ...from(
        'check',
        Array.from(failingChecks, (name) => `check "${name}" fails`),
      ),
    ];
  } catch (error) {
    onFault('signals', error);
    return [];
  }
}

/** The root first: what an error was made of says more than what it was wrapped in. */
function fromError(error: unknown): Cause[] {
  return from('error', causesOf(error).map(inOneLine).reverse());
}

function inOneLine(error: unknown): string {
  const name = propertyOf(error, 'name');
  const code = propertyOf(error, 'code');
  const message = propertyOf(error, 'message');
  const text = typeof message === 'string' && message !== '' ? message : inWords(error);
  const isSaid = typeof code !== 'string' || text.includes(code);
  return `${typeof name === 'string' ? `${name}: ` : ''}${text}${isSaid ? '' : ` (${code})`}`;
}

function repeated(fingerprint: string | undefined, recent: RecentFailures): Cause[] {
  if (fingerprint === undefined) return [];
  const { failures, subjects } = recent.like(fingerprint);
  if (failures === 0) return [];
  const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? '' : 's'}`;
  return from('repeated', [
    `${count(failures, 'failure')} like it of ${count(subjects, 'subject')} in the last minute`,
  ]);
}

function from(source: Cause['source'], lines: readonly string[]): Cause[] {
  return lines.map((what) => ({ source, what: blotted(inWords(what)) }));
}

/** Each once, where it is likeliest. */
function ranked(causes: readonly Cause[]): Cause[] {
  const first = new Map<string, Cause>();
  for (const cause of causes) if (!first.has(cause.what)) first.set(cause.what, cause);
  return [...first.values()].slice(0, MAX_CAUSES);
}
