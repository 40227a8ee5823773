/** What the header of a checkpoint's record holds. Its body is a pack. */
export interface CheckpointMeta {
  readonly session: string;
  readonly sequence: number;
  readonly parentSequence: number | null;
  readonly savedAtMs: number;
  readonly schemaVersion: number;
  readonly label?: string;
  readonly operation?: string;
  /** Encoded like a state, so that it comes back as it was. */
  readonly metadata?: string;
  /** SHA-256 of the chunk that the state begins with, hexadecimal: it proves the whole state. */
  readonly root: string;
  /** Bytes of the state's canonical JSON. */
  readonly sizeBytes: number;
  /** Sequences of the older records whose packs hold chunks of the state, too. */
  readonly packs: readonly number[];
  /** The further records that the pack is spread over, if one was too small for it. */
  readonly parts?: readonly PackPart[];
  /** Written anew by a repair, so it is no longer the very record that later ones were made from. */
  readonly repaired?: true;
}

/** What a checkpoint's header is made from: what is not there is left out of it. */
type MetaFacts = Omit<CheckpointMeta, 'label' | 'operation' | 'metadata' | 'repaired' | 'parts'> & {
  readonly [Name in 'label' | 'operation' | 'metadata']: string | undefined;
};

/** Without spreads, which cost a microsecond for each property. */
export function checkpointMeta(facts: MetaFacts): CheckpointMeta {
  const { session, sequence, parentSequence, savedAtMs, schemaVersion, root, sizeBytes, packs } = facts;
  const { label, operation, metadata } = facts;
  const meta: { -readonly [Name in keyof CheckpointMeta]: CheckpointMeta[Name] } = {
    session,
    sequence,
    parentSequence,
    savedAtMs,
    schemaVersion,
    root,
    sizeBytes,
    packs,
  };
  if (label !== undefined) meta.label = label;
  if (operation !== undefined) meta.operation = operation;
  if (metadata !== undefined) meta.metadata = metadata;
  return meta;
}

/** A further record of a pack, as the first one names it. */
interface PackPart {
  readonly name: string;
  readonly sizeBytes: number;
}

/** What is left of a checkpoint that was removed while younger ones need chunks of its pack: those chunks. */
export interface RetiredMeta {
  readonly session: string;
  readonly sequence: number;
  readonly retired: true;
  readonly parts?: readonly PackPart[];
}

/** A further record of a pack: chunks and nothing else. */
export interface PartMeta {
  readonly session: string;
  readonly part: string;
}

export function isRetired(meta: CheckpointMeta | RetiredMeta): meta is RetiredMeta {
  return 'retired' in meta;
}

export function isCheckpointOrRetired(meta: unknown): meta is CheckpointMeta | RetiredMeta {
  if (typeof meta !== 'object' || meta === null) return false;
  const { session, sequence, retired, parts } = meta as Record<keyof (CheckpointMeta & RetiredMeta), unknown>;
  const isEither =
    typeof session === 'string' && isCount(sequence) && (parts === undefined || isListOf(parts, isPackPart));
  return isEither && (retired === true || isCheckpoint(meta as Record<keyof CheckpointMeta, unknown>));
}

export function isPart(meta: unknown): meta is PartMeta {
  if (typeof meta !== 'object' || meta === null) return false;
  const { session, part } = meta as Record<keyof PartMeta, unknown>;
  return isText(session) && isText(part);
}

function isCheckpoint(meta: Record<keyof CheckpointMeta, unknown>): boolean {
  const { sequence, parentSequence, savedAtMs, schemaVersion, label, operation, metadata, root, sizeBytes, packs } =
    meta;
  return (
    (parentSequence === null || isCount(parentSequence)) &&
    typeof savedAtMs === 'number' &&
    isCount(schemaVersion) &&
    [label, operation, metadata].every((text) => text === undefined || isText(text)) &&
    typeof root === 'string' &&
    SHA256_HEX.test(root) &&
    isCount(sizeBytes) &&
    isListOfPacks(packs, sequence)
  );
}

const SHA256_HEX = /^[0-9a-f]{64}$/;

function isListOf(list: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(list) && list.every(isItem);
}

/** Sixteen of each size are needed at most; a bound keeps a forged header from asking for millions. */
const MAX_PACKS = 1_000;

function isListOfPacks(packs: unknown, sequence: unknown): boolean {
  if (!isListOf(packs, isCount) || (packs as number[]).length > MAX_PACKS) return false;
  const ascending = [...(packs as number[]), sequence as number];
  return ascending.every((pack, at) => at === 0 || pack > (ascending[at - 1] as number));
}

const PART_NAME = /^[A-Za-z0-9._-]{1,128}$/;

function isPackPart(part: unknown): boolean {
  if (typeof part !== 'object' || part === null) return false;
  const { name, sizeBytes } = part as Record<keyof PackPart, unknown>;
  return typeof name === 'string' && PART_NAME.test(name) && isCount(sizeBytes);
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}
