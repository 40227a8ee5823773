import { isHoldfastError } from '../../base/errors.js';
import type { BatchOperation, StorageAdapter, Version } from '../adapter.js';
import type { Change } from './backup.js';
import { copyTo, type Replicas } from './survey.js';

/** The methods that write: to the primary, then to the backups, for which is waited or not. */
export function writesOf(
  replicas: Replicas,
  isWaiting: boolean,
): Pick<StorageAdapter, 'put' | 'delete'> & Partial<Pick<StorageAdapter, 'batch'>> {
  const { primary } = replicas;
  const { batch } = primary;
  const own = (value: Uint8Array) => (isWaiting ? new Uint8Array(value) : undefined); // Else a backlog would hold bytes.
  return {
    put: (key, value, options) => {
      const bytes = own(value);
      const changes = (version?: Version): Change[] => [putOf(key, bytes, version)];
      return follow({ replicas, isWaiting, write: () => primary.put(key, value, options), changes });
    },
    delete: (key, options) => {
      const changes = (): Change[] => [{ key, type: 'delete' }];
      return follow({ replicas, isWaiting, write: () => primary.delete(key, options), changes });
    },
    ...(batch && {
      batch: (operations: readonly BatchOperation[]) => {
        const bytes = operations.map((one) => (one.type === 'put' ? own(one.value) : undefined));
        const changes = (version?: Version) =>
          operations.flatMap(({ key, type }, at): Change[] => {
            if (type === 'check') return [];
            return [type === 'put' ? putOf(key, bytes[at], version) : { key, type }];
          });
        return follow({ replicas, isWaiting, write: () => batch(operations), changes });
      },
    }),
  };
}

interface FollowedWrite<Result> {
  readonly replicas: Replicas;
  readonly isWaiting: boolean;
  readonly write: () => Promise<Result>;
  /** What it changed; without a result, what it may have changed. */
  readonly changes: (result?: Result) => readonly Change[];
}

function follow<Result>({ replicas, isWaiting, write, changes }: FollowedWrite<Result>): Promise<Result> {
  const copy = (some: readonly Change[]) => Promise.all(replicas.backups.map((one) => copyTo(replicas, one, some)));
  return replicas.gate.pass(async () => {
    const result = await write().catch((error) => {
      const mayHaveHappened = isHoldfastError(error) && error.code === 'HOLDFAST_OUTCOME_UNKNOWN';
      if (mayHaveHappened) void copy(changes()); // What the primary has is read then, whatever it is.
      throw error;
    });
    const copied = copy(changes(result));
    if (isWaiting) await copied;
    return result;
  });
}

function putOf(key: string, value: Uint8Array | undefined, version: Version | undefined): Change {
  return value && version !== undefined ? { key, type: 'put', written: { version, value } } : { key, type: 'put' };
}
