import { NoSpaceError, StorageError } from '../adapter.js';
import { driverFault } from '../driver-fault.js';

/**
 * What a failure means for the command that met it. `refused`: the script itself was stopped at its first write, so it
 * found no trace of an earlier copy of itself, and did nothing. `final`: the server will not run it, yet an earlier copy
 * may have run. `passing`: the same, for now. `lost`: the connection failed, and nobody can tell.
 */
type RedisFaultKind = 'refused' | 'final' | 'passing' | 'lost';

/** A failure in the words of the library, without what the driver hung on it. */
export interface RedisFault {
  readonly kind: RedisFaultKind;
  readonly error: StorageError | NoSpaceError;
}

interface Meaning {
  readonly kind: RedisFaultKind;
  readonly what: string;
}

const WRONG_NODE = 'belongs to another node of a cluster. Pass a cluster client: `new Cluster(…)`, `createCluster(…)`';
const NO_RIGHTS =
  'does not let this user in. Check `username` and `password` of the client, and `requirepass` or the ACL';

/** By the word with which the server begins an error. */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  READONLY: { kind: 'refused', what: 'is a replica and takes no writes. Point the client at the primary' },
  MISCONF: {
    kind: 'refused',
    what: 'takes no writes while it cannot save its data. Look at its log, its disk and the setting `dir`',
  },
  NOREPLICAS: {
    kind: 'refused',
    what: 'has fewer replicas than `min-replicas-to-write` asks for. Bring them back, or lower that setting',
  },
  NOPERM: {
    kind: 'final',
    what: 'refuses this user a command. Extend its ACL: the documentation of `redisStorage` lists what is needed',
  },
  NOAUTH: { kind: 'final', what: NO_RIGHTS },
  WRONGPASS: { kind: 'final', what: NO_RIGHTS },
  CROSSSLOT: { kind: 'final', what: 'spreads keys of one hash tag over slots. Use a Redis or Valkey cluster as it is' },
  MOVED: { kind: 'final', what: WRONG_NODE },
  ASK: { kind: 'final', what: WRONG_NODE },
  WRONGTYPE: {
    kind: 'final',
    what: 'keeps something else under keys of this store. Give it a `prefix` that nobody else uses',
  },
  LOADING: { kind: 'passing', what: 'is still loading its data. Try again when it is done, or raise `timeoutMs`' },
  BUSY: { kind: 'passing', what: 'is busy with a script. See `SLOWLOG GET`; `SCRIPT KILL` ends one that only reads' },
  CLUSTERDOWN: { kind: 'passing', what: 'is part of a cluster that is down. See `CLUSTER INFO`' },
  TRYAGAIN: { kind: 'passing', what: 'is moving these keys to another node. Try again when it is done' },
  MASTERDOWN: { kind: 'passing', what: 'is a replica that lost its primary. Point the client at the primary' },
};

const UNREACHABLE: Meaning = {
  kind: 'lost',
  what: 'cannot be reached, or the connection was lost. Check that the server runs, and where the client connects to',
};

/** What `thrown`, by a client or sent by the server, means for the store called `store`. */
export function redisFault(store: string, thrown: unknown): RedisFault {
  const cause = driverFault(thrown);
  const code = codeOf(cause.message);
  if (code === 'OOM' || (code === 'MISCONF' && /no space/i.test(cause.message))) {
    return { kind: 'refused', error: new NoSpaceError(store, { cause }) };
  }
  const meaning = MEANINGS[code ?? ''] ?? unnamed(code);
  return { kind: meaning.kind, error: new StorageError(`The server of ${store} ${meaning.what}.`, { cause }) };
}

/** Does the server not let this user do that, or not know the command (as where CONFIG is taken away)? */
export function isForbidden(thrown: unknown): boolean {
  const code = codeOf(driverFault(thrown).message);
  return code === 'NOPERM' || code === 'ERR';
}

/** Has the server forgotten the script? It was restarted, or told to. */
export function isUnknownScript(thrown: unknown): boolean {
  return codeOf(driverFault(thrown).message) === 'NOSCRIPT';
}

function unnamed(code: string | undefined): Meaning {
  return code === undefined ? UNREACHABLE : { kind: 'final', what: `answered with an error (${code})` };
}

/** Codes are words in capitals; for what a script met, the server wraps some of them in an `ERR` of its own. */
function codeOf(message: string): string | undefined {
  if (message.includes("user executing the script can't")) return 'NOPERM';
  const inside = /^ERR Error running script.*?-?\b(OOM|READONLY|MISCONF|NOREPLICAS|NOPERM|WRONGTYPE)\b/.exec(message);
  return (inside ?? /^-?([A-Z]{3,}) /.exec(message))?.[1];
}
