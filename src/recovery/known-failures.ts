import { isCallersFault, propertyOf, statusOf } from '../policies/http-failure.js';
import { SEVERITIES, type Severity } from './failure.js';

/** What a kind of failure leaves behind, and whether it goes away by waiting. */
export interface KindTraits {
  readonly severity: Severity;
  readonly transient: boolean;
}

const PASSING: KindTraits = { severity: 'minor', transient: true };
const LASTING: KindTraits = { severity: 'minor', transient: false };
const GRAVE: KindTraits = { severity: 'major', transient: false };
const HARMLESS: KindTraits = { severity: 'none', transient: false };

const KINDS = {
  transient: PASSING,
  'rate-limited': PASSING,
  timeout: PASSING,
  'dependency-down': PASSING,
  disconnected: PASSING,
  'invalid-input': LASTING,
  frozen: LASTING,
  auth: GRAVE,
  'resource-exhaustion': GRAVE,
  crashed: GRAVE,
  corrupted: GRAVE,
  bug: GRAVE,
  cancelled: HARMLESS,
  superseded: HARMLESS,
} as const satisfies Record<string, KindTraits>;

/**
 * Kinds that `defaultRules` know.
 * - minor, and gone by waiting: `transient`, `rate-limited`, `timeout`, `dependency-down`, `disconnected`
 * - minor, and there to stay: `invalid-input`, `frozen`
 * - major: `auth`, `resource-exhaustion`, `crashed`, `corrupted`, `bug`
 * - none: `cancelled` (somebody called it off), `superseded` (somebody else goes on with it)
 */
export type FailureKind = keyof typeof KINDS;

/** What is known of a kind; `undefined` for a word of the host's own. */
export function traitsOf(kind: string): KindTraits | undefined {
  return Object.hasOwn(KINDS, kind) ? KINDS[kind as FailureKind] : undefined;
}

/** Codes of errors: of the system, of undici, of Node, and our own. A wrapper has none here: its cause speaks for it. */
const CODES: Readonly<Record<FailureKind, readonly string[]>> = {
  transient: [
    'ECONNRESET',
    'ECONNABORTED',
    'EPIPE',
    'EAI_AGAIN',
    'EAGAIN',
    'EBUSY',
    'UND_ERR_SOCKET',
    'HOLDFAST_BUSY',
    'HOLDFAST_CONFLICT',
    'HOLDFAST_OUTCOME_UNKNOWN',
  ],
  'rate-limited': ['HOLDFAST_RATE_LIMITED', 'HOLDFAST_BULKHEAD_FULL'],
  timeout: [
    'ETIMEDOUT',
    'ESOCKETTIMEDOUT',
    'UND_ERR_CONNECT_TIMEOUT',
    'UND_ERR_HEADERS_TIMEOUT',
    'UND_ERR_BODY_TIMEOUT',
    'HOLDFAST_TIMEOUT',
  ],
  'dependency-down': [
    'ECONNREFUSED',
    'ENOTFOUND',
    'EHOSTDOWN',
    'EHOSTUNREACH',
    'ENETDOWN',
    'ENETUNREACH',
    'HOLDFAST_CIRCUIT_OPEN',
  ],
  disconnected: ['ENOTCONN'],
  'invalid-input': [
    'HOLDFAST_INVALID_INPUT',
    'HOLDFAST_INVALID_STATE',
    'HOLDFAST_EVENT_ID_CONFLICT',
    'HOLDFAST_RESULT_REFUSED',
  ],
  frozen: [],
  auth: ['EACCES', 'EPERM', 'HOLDFAST_UNKNOWN_ENCRYPTION_KEY'],
  'resource-exhaustion': [
    'ENOSPC',
    'EDQUOT',
    'EMFILE',
    'ENFILE',
    'ENOMEM',
    'ENOBUFS',
    'ERR_WORKER_OUT_OF_MEMORY',
    'HOLDFAST_NO_SPACE',
    'HOLDFAST_LIMIT',
  ],
  crashed: [],
  corrupted: ['HOLDFAST_CORRUPTION', 'HOLDFAST_LOST_EVENTS', 'HOLDFAST_MISSING_CHECKPOINT'],
  bug: [
    'ERR_ASSERTION',
    'HOLDFAST_UNSERIALIZABLE',
    'HOLDFAST_UNKNOWN_CODEC',
    'HOLDFAST_MIGRATION_FAILED',
    'HOLDFAST_OLDER_SCHEMA',
    'HOLDFAST_NEWER_SCHEMA',
    'HOLDFAST_TRANSACTION_STATE',
  ],
  cancelled: ['ABORT_ERR', 'ERR_CANCELED', 'HOLDFAST_CANCELLED', 'HOLDFAST_CLOSED'],
  superseded: ['HOLDFAST_FENCED'],
};

const KIND_OF_CODE: ReadonlyMap<unknown, FailureKind> = new Map(
  Object.entries(CODES).flatMap(([kind, codes]) => codes.map((code) => [code, kind as FailureKind] as const)),
);

const KIND_OF_STATUS: ReadonlyMap<number, FailureKind> = new Map([
  [401, 'auth'],
  [403, 'auth'],
  [407, 'auth'],
  [408, 'timeout'],
  [425, 'transient'],
  [429, 'rate-limited'],
  [504, 'timeout'],
]);

const TIMEOUT_NAME = /TimeoutError$/;
const ABORT_NAME = /(?:Abort|Canceled)Error$/;
const BUG_NAME = /^(?:Type|Reference|Syntax|Range|Eval|URI)Error$/;

/** The kind that one error says it is, by its code, its HTTP status or its name; causes are not asked. */
export function kindOf(error: unknown): FailureKind | undefined {
  const byCode = KIND_OF_CODE.get(propertyOf(error, 'code'));
  if (byCode !== undefined) return byCode;
  const status = statusOf(error);
  if (status !== undefined && status >= 400) return kindOfStatus(status, error);
  const name = nameOf(error);
  if (TIMEOUT_NAME.test(name)) return 'timeout';
  return ABORT_NAME.test(name) ? 'cancelled' : undefined;
}

/** Is it of a class that the language throws where code is wrong? `fetch` throws one, too: ask its causes first. */
export function isBug(error: unknown): boolean {
  return BUG_NAME.test(nameOf(error));
}

/** The worst of several; of equals the first. */
export function gravest(kinds: readonly FailureKind[]): FailureKind | undefined {
  const rank = (kind: FailureKind) => SEVERITIES.indexOf(KINDS[kind].severity) * 2 + (KINDS[kind].transient ? 0 : 1);
  return kinds.reduce<FailureKind | undefined>(
    (worst, kind) => (worst !== undefined && rank(worst) >= rank(kind) ? worst : kind),
    undefined,
  );
}

function kindOfStatus(status: number, error: unknown): FailureKind {
  return KIND_OF_STATUS.get(status) ?? (isCallersFault(error) ? 'invalid-input' : 'dependency-down');
}

function nameOf(error: unknown): string {
  const name = propertyOf(error, 'name');
  return typeof name === 'string' ? name : '';
}
