import { parseOptions } from '../base/options.js';
import type { CheckpointInfo, SkippedCheckpoint } from './checkpoint.js';
import { type CheckpointKey, type CheckpointRecords, isDamage } from './checkpoint-records.js';
import { type ListCheckpointsOptions, listSchema } from './options.js';

/** Where checkpoints are listed from, and who is told of those that are damaged. */
export interface ListSource {
  readonly records: CheckpointRecords;
  readonly onSkipped: (skipped: SkippedCheckpoint) => void;
}

/** Walks from the newest checkpoint towards older ones and reads what was not read before. See `CheckpointManager.list`. */
export async function* listCheckpoints(
  { records, onSkipped }: ListSource,
  session: string,
  options: ListCheckpointsOptions | undefined,
): AsyncGenerator<CheckpointInfo> {
  const { limit = Number.POSITIVE_INFINITY, before, operation, label } = parseOptions(listSchema, options);
  const isWanted = (info: CheckpointInfo | null): info is CheckpointInfo =>
    info !== null && (operation ?? info.operation) === info.operation && (label ?? info.label) === info.label;
  const read = async (key: CheckpointKey): Promise<CheckpointInfo | null> => {
    try {
      return await records.readInfo(session, key);
    } catch (error) {
      if (!isDamage(error)) throw error;
      onSkipped({ sequence: key.sequence, reason: 'corrupt', error });
      return null;
    }
  };
  let left = limit;
  for await (const page of records.keyPages(session, { before })) {
    for (const key of page) {
      if (left === 0) return;
      const known = records.knownInfo(key);
      const info = known === undefined ? await read(key) : known;
      if (!isWanted(info)) continue;
      left--;
      yield info;
    }
  }
}
