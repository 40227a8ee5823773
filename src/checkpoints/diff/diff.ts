import { LimitError } from '../../base/errors.js';
import { formatPath } from '../../records/describe.js';
import { isMarkerShaped } from '../../records/json-object.js';
import { MissingCheckpointError } from '../checkpoint.js';
import type { CheckpointRecords, StoredCheckpoint } from '../checkpoint-records.js';
import { chunkIdOf, WHOLE_VALUE } from '../packs/chunk.js';
import { SessionChunks } from '../packs/session-chunks.js';
import { ListCursor, type OpenList } from './diff-cursor.js';
import { asReference, itemsOf, type ListPart } from './diff-list.js';
import { OpenState } from './diff-state.js';

/** One difference between two states. */
export interface StateChange {
  /**
   * Where, as one would write it in code: `$.messages[3].content`. Of something removed its place in the older state,
   * of something added its place in the newer one; what changed is at the same place in both.
   */
  readonly path: string;
  readonly kind: 'added' | 'removed' | 'changed';
  /** What was there, unless it was added. */
  readonly before?: unknown;
  /** What is there now, unless it was removed. */
  readonly after?: unknown;
}

/** Sequences of the two checkpoints to compare. `from` may be the younger one. */
export interface DiffRange {
  readonly from: number;
  readonly to: number;
}

/**
 * What differs between two checkpoints of a session, in the order of the states: members of objects by name, items of
 * arrays by place. Of arrays, what is alike at the beginning and then at the end is passed over, and what is left is
 * compared item by item: what was inserted or removed in one place is said so. Values that are neither plain objects nor
 * arrays, such as dates and maps, are compared as wholes.
 *
 * Costs what differs: chunks that both states have are not looked into, and packs without others are not read.
 * @throws MissingCheckpointError if one of them is not there; CorruptionError if what differs is damaged.
 * @throws UnknownCodecError if a value that differs needs a codec; LimitError if a state is larger than is allowed.
 */
export async function diffCheckpoints(
  records: CheckpointRecords,
  session: string,
  { from, to }: DiffRange,
): Promise<StateChange[]> {
  const [older, newer] = await Promise.all([readOne(records, session, from), readOne(records, session, to)]);
  if (older.meta.root === newer.meta.root) return [];
  const chunks = new SessionChunks(records, session);
  const before = new OpenState(records, older, chunks);
  const after = new OpenState(records, newer, chunks);
  const diff = new StateDiff(before, after, records.codec.maxDepth);
  await diff.compare(before.text, after.text, { path: '$', depth: 0 });
  return diff.changes;
}

async function readOne(records: CheckpointRecords, session: string, sequence: number): Promise<StoredCheckpoint> {
  const checkpoint = await records.read(session, sequence);
  if (checkpoint === undefined) throw new MissingCheckpointError(session, sequence);
  return checkpoint;
}

/** Where a value stands in the states. */
interface Place {
  readonly path: string;
  readonly depth: number;
}

/** Two of a kind, one of each state. */
interface Both<Side> {
  readonly before: Side;
  readonly after: Side;
}

/** Where two cursors stand: at the same thing, or each at an item or member of its own. */
interface Meeting extends Both<ListPart> {
  readonly isSame: boolean;
}

/** Compares two states from the top down. Each level waits for a chunk before the next, so no depth fills the stack. */
class StateDiff {
  readonly changes: StateChange[] = [];
  readonly #before: OpenState;
  readonly #after: OpenState;
  readonly #maxDepth: number;

  constructor(before: OpenState, after: OpenState, maxDepth: number) {
    this.#before = before;
    this.#after = after;
    this.#maxDepth = maxDepth;
  }

  async compare(before: Buffer, after: Buffer, place: Place): Promise<void> {
    if (place.depth > this.#maxDepth) throw tooDeep(this.#maxDepth);
    const texts = { before: await this.#before.open(before), after: await this.#after.open(after) };
    const [one, other] = [texts.before[0], texts.after[0]];
    if (one === OPEN_ARRAY && other === OPEN_ARRAY) return this.#compareArrays(await this.#lists(texts, false), place);
    if (one === OPEN_OBJECT && other === OPEN_OBJECT) {
      const lists = await this.#lists(texts, true);
      if (!isMarker(lists.before) && !isMarker(lists.after)) return this.#compareObjects(lists, place);
    }
    await this.#compareWhole(texts, place);
  }

  async #compareWhole(texts: Both<Buffer>, { path }: Place): Promise<void> {
    const [one, other] = [await this.#before.json(texts.before), await this.#after.json(texts.after)];
    if (one.equals(other)) return; // Cut in another way.
    const [before, after] = [this.#before.decode(one), this.#after.decode(other)];
    this.changes.push({ path, kind: 'changed', before, after });
  }

  async #compareArrays(lists: Both<OpenList>, place: Place): Promise<void> {
    const lengths = { before: itemsOf(lists.before.parts), after: itemsOf(lists.after.parts) };
    const shorter = Math.min(lengths.before, lengths.after);
    const cursors = cursorsOf(lists, 'forward');
    const alikeFirst = await passAlike(cursors, shorter);
    const alikeLast = await passAlike(cursorsOf(lists, 'backward'), shorter - alikeFirst);
    const end = shorter - alikeLast;
    let at = alikeFirst;
    while (at < end) {
      const met = (await meet(cursors, end - at)) as Meeting;
      if (!met.isSame) await this.compare(met.before.text, met.after.text, below(place, at));
      passBoth(cursors);
      at += met.before.items;
    }
    for (let gone = at; gone < lengths.before - alikeLast; gone++) await this.#remove(cursors.before, place, gone);
    for (let come = at; come < lengths.after - alikeLast; come++) await this.#add(cursors.after, place, come);
  }

  async #compareObjects(lists: Both<OpenList>, place: Place): Promise<void> {
    const cursors = cursorsOf(lists, 'forward');
    for (let met = await meet(cursors); met !== undefined; met = await meet(cursors)) {
      const [name = '', other = ''] = [met.before.name, met.after.name]; // The same run has none.
      if (name < other) await this.#remove(cursors.before, place);
      else if (name > other) await this.#add(cursors.after, place);
      else {
        if (!met.isSame) await this.compare(met.before.text, met.after.text, below(place, name));
        passBoth(cursors);
      }
    }
    while (await cursors.before.item()) await this.#remove(cursors.before, place);
    while (await cursors.after.item()) await this.#add(cursors.after, place);
  }

  /** What the cursor stands at is no longer there. */
  async #remove(cursor: ListCursor, place: Place, index?: number): Promise<void> {
    const { name, text } = (await cursor.item()) as ListPart;
    cursor.pass();
    const before = this.#before.decode(await this.#before.json(text));
    this.changes.push({ path: below(place, index ?? name).path, kind: 'removed', before });
  }

  /** What the cursor stands at was not there. */
  async #add(cursor: ListCursor, place: Place, index?: number): Promise<void> {
    const { name, text } = (await cursor.item()) as ListPart;
    cursor.pass();
    const after = this.#after.decode(await this.#after.json(text));
    this.changes.push({ path: below(place, index ?? name).path, kind: 'added', after });
  }

  async #lists(texts: Both<Buffer>, isObject: boolean): Promise<Both<OpenList>> {
    const [before, after] = [this.#before, this.#after];
    return {
      before: { state: before, parts: await before.parts(texts.before, isObject), isObject },
      after: { state: after, parts: await after.parts(texts.after, isObject), isObject },
    };
  }
}

const OPEN_ARRAY = 0x5b;
const OPEN_OBJECT = 0x7b;

/** What JSON has no form for; it stands for one value. */
function isMarker({ parts }: OpenList): boolean {
  return isMarkerShaped(parts.map(({ name = '' }) => name));
}

function cursorsOf({ before, after }: Both<OpenList>, direction: 'forward' | 'backward'): Both<ListCursor> {
  return { before: new ListCursor(before, direction), after: new ListCursor(after, direction) };
}

function passBoth({ before, after }: Both<ListCursor>): void {
  before.pass();
  after.pass();
}

/** Passes items that are the same in both, `most` at most; how many they were. */
async function passAlike(cursors: Both<ListCursor>, most: number): Promise<number> {
  let alike = 0;
  while (alike < most) {
    const met = (await meet(cursors, most - alike)) as Meeting;
    if (!met.isSame) break;
    passBoth(cursors);
    alike += met.before.items;
  }
  return alike;
}

/**
 * Enters runs until both cursors stand at the same thing of `room` items at most, or at two items. `undefined` where one
 * of them ends.
 */
async function meet(cursors: Both<ListCursor>, room = Number.POSITIVE_INFINITY): Promise<Meeting | undefined> {
  for (;;) {
    const { part: before } = cursors.before;
    const { part: after } = cursors.after;
    if (before === undefined || after === undefined) return undefined;
    const isSame = isSamePart(before, after) && before.items <= room;
    if (isSame || !(before.isRun || after.isRun)) return { before, after, isSame };
    // The larger one first: the smaller may stand in it as it is.
    if (before.isRun && before.items >= after.items) await cursors.before.enter(before);
    if (after.isRun && after.items >= before.items) await cursors.after.enter(after);
  }
}

function isSamePart(one: ListPart, other: ListPart): boolean {
  return one.name === other.name && one.isRun === other.isRun && isSameText(one.text, other.text);
}

/** Texts of one value are the same, but for a value that is a chunk of its own in one place and not in the other. */
function isSameText(one: Buffer, other: Buffer): boolean {
  if (one.equals(other)) return true;
  const [oneId, otherId] = [wholeId(one), wholeId(other)];
  if ((oneId === undefined) === (otherId === undefined)) return false;
  return (oneId ?? chunkIdOf(one)) === (otherId ?? chunkIdOf(other));
}

function wholeId(text: Buffer): string | undefined {
  const reference = asReference(text);
  return reference?.items === WHOLE_VALUE ? reference.id : undefined;
}

function below({ path, depth }: Place, step: string | number | undefined): Place {
  return { path: path + formatPath([undefined, step], 1).slice(1), depth: depth + 1 };
}

function tooDeep(maxDepth: number): LimitError {
  const message = `The states nest deeper than maxDepth (${maxDepth}). Raise the limit to compare them.`;
  return new LimitError(message, 'maxDepth', maxDepth);
}
