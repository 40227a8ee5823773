import { sha256Hex } from '../../base/digest.js';
import { encodeId } from '../../records/keys.js';
import { ConflictError, type Version } from '../../storage/adapter.js';
import { type CheckpointRecords, isDamage } from '../checkpoint-records.js';
import type { ChunkId } from '../packs/chunk.js';
import type { PackedChunk } from '../packs/pack.js';
import { sealPack } from '../packs/pack-writer.js';
import { provePack } from './pack-proof.js';
import type { RepairStep, Replacement } from './repair-plan.js';
import type { ScannedCheckpoint, ScannedRecord, SessionScan } from './session-scan.js';

/** What is kept of a damaged record. */
export interface KeptBytes {
  /** Storage keys under which its bytes are kept as they were. Nothing reads them, and `delete` leaves them. */
  readonly keptAs: readonly string[];
  /** Storage keys whose bytes the store itself refused as damaged, so that they could not be kept. */
  readonly notKept: readonly string[];
}

const ASIDE_ROOT = 'checkpoint-damaged/';
const ASIDE_HASH_DIGITS = 16;

/** Copies what is stored of a record to where it is in nobody's way; a dry run only says where that would be. */
export async function keepAside(
  records: CheckpointRecords,
  { sequence, partKeys }: ScannedRecord,
  { session, isDryRun }: { readonly session: string; readonly isDryRun: boolean },
): Promise<KeptBytes> {
  const { storage } = records;
  const key = records.key(session, sequence);
  const place = `${ASIDE_ROOT}${encodeId(session, 'session')}/${key.slice(key.lastIndexOf('/') + 1)}`;
  const keptAs: string[] = [];
  const notKept: string[] = [];
  for (const damagedKey of [key, ...partKeys]) {
    try {
      const entry = await storage.get(damagedKey);
      if (entry === undefined) continue;
      // By its hash: whatever a sequence holds at the next repair, nothing here is written over.
      const aside = `${place}-${sha256Hex(entry.value).slice(0, ASIDE_HASH_DIGITS)}`;
      if (!isDryRun) await storage.put(aside, entry.value);
      keptAs.push(aside);
    } catch (error) {
      if (!isDamage(error)) throw error;
      notKept.push(damagedKey);
    }
  }
  return { keptAs, notKept };
}

/** The same record under another version. @throws ConflictError */
export async function writeAgain(records: CheckpointRecords, { header, version }: ScannedCheckpoint): Promise<void> {
  const { session, sequence } = header.meta;
  const key = records.key(session, sequence);
  const entry = await records.storage.get(key);
  if (entry === undefined) throw changed(session, key);
  await records.storage.put(key, entry.value, { ifVersion: version });
}

/** @throws ConflictError if anything is no longer what was planned with. Nothing was changed then. */
export async function carryOutStep(
  records: CheckpointRecords,
  scan: SessionScan,
  { record, replacement }: RepairStep,
): Promise<void> {
  const { storage } = records;
  const key = records.key(scan.session, record.sequence);
  if (replacement === undefined) {
    await storage.delete(key, { ifVersion: record.version as Version }); // What is missing is not removed.
    return;
  }
  const sealed = sealPack(records, replacement, await readChunks(records, scan, replacement));
  for (const part of sealed.parts) await storage.put(part.key, part.bytes); // Nothing names them before the record does.
  await storage.put(key, sealed.record.bytes, { ifVersion: record.version });
}

async function readChunks(
  records: CheckpointRecords,
  { session, records: scanned }: SessionScan,
  { meta, chunks: wanted }: Replacement,
): Promise<PackedChunk[]> {
  const found = new Map<ChunkId, Buffer>();
  for (const sequence of new Set(wanted.values())) {
    const partKeys = scanned.find((record) => record.sequence === sequence)?.partKeys ?? [];
    await provePack(records, { session, sequence, partKeys }, (id, bytes) => {
      if (wanted.has(id)) found.set(id, bytes);
    });
  }
  if (found.size < wanted.size) throw changed(session, records.key(session, meta.sequence));
  return [...found];
}

function changed(session: string, key: string): ConflictError {
  const message = `Session "${session}" was changed by somebody else while it was repaired. Repair it again.`;
  return new ConflictError(key, undefined, { message });
}
