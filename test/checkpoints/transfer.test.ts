import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../src/base/digest.js';
import { CorruptionError, InvalidInputError, LimitError } from '../../src/base/errors.js';
import type { SkippedCheckpoint } from '../../src/checkpoints/checkpoint.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { CheckpointRecords } from '../../src/checkpoints/checkpoint-records.js';
import { sealPack } from '../../src/checkpoints/packs/pack-writer.js';
import { exportSession } from '../../src/checkpoints/transfer/export-session.js';
import { ImportError } from '../../src/checkpoints/transfer/import-error.js';
import { type ExportedLines, readExport } from '../../src/checkpoints/transfer/import-lines.js';
import { sealSession } from '../../src/checkpoints/transfer/import-records.js';
import { type ImportOptions, importSession } from '../../src/checkpoints/transfer/import-session.js';
import { bytesOf, type ChunkText } from '../../src/checkpoints/transfer/transfer-format.js';
import { prepareCodecs, type ValueCodec } from '../../src/records/codec.js';
import { encodeValue } from '../../src/records/encode.js';
import { sealRecord } from '../../src/records/envelope.js';
import {
  ConflictError,
  NoSpaceError,
  OutcomeUnknownError,
  type StorageAdapter,
  StorageError,
} from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { fileStorage } from '../../src/storage/file.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';
import { suspectStore } from '../support/suspect-store.js';
import { type AgentState, agentState, edited, textOf } from './agent-state.js';

const SESSION = 'agent';

class Money {
  constructor(readonly cents: number) {}
}
const money: ValueCodec<Money> = {
  tag: 'money',
  is: (value) => value instanceof Money,
  encode: ({ cents }) => cents,
  decode: (cents) => new Money(cents as number),
};
const withMoney = prepareCodecs({ codecs: [money as ValueCodec] });

function recordsOf(storage: StorageAdapter, codec = prepareCodecs()): CheckpointRecords {
  return new CheckpointRecords(checked(storage), codec);
}

async function exported(storage: StorageAdapter, session = SESSION): Promise<string[]> {
  const lines: string[] = [];
  const task = { skipDamaged: false, onSkipped: () => {} };
  for await (const line of exportSession(recordsOf(storage), session, task)) lines.push(line);
  return lines;
}

function imported(storage: StorageAdapter, lines: ExportedLines, options: ImportOptions = {}) {
  return importSession(recordsOf(storage), lines, options);
}

/** Every key of a store. */
async function keysOf(storage: StorageAdapter): Promise<string[]> {
  return (await storage.list('')).entries.map(({ key }) => key);
}

/** What a session restores to: each checkpoint with its state in canonical bytes. */
async function contentOf(storage: StorageAdapter, session = SESSION) {
  const checkpoints = new CheckpointManager({ storage, codecs: [money as ValueCodec] });
  const content: object[] = [];
  for await (const { sequence } of checkpoints.list(session)) {
    const restored = await checkpoints.restore(session, { sequence, fallback: false });
    const { storedBytes: _, session: __, ...info } = restored?.checkpoint ?? { storedBytes: 0, session };
    content.push({ ...info, degraded: restored?.degraded, state: encodeValue(restored?.state, withMoney).toString() });
  }
  return content;
}

/** A memory store that takes small values only, so that packs are spread over several. */
function smallValues(maxValueBytes = 64 * 1024): StorageAdapter {
  const storage = memoryStorage();
  return { ...storage, capabilities: { ...storage.capabilities, maxValueBytes } };
}

/** A store that can only write one value at a time. */
function withoutBatches(storage = memoryStorage()): StorageAdapter {
  const { batch: _, ...others } = storage;
  return { ...others, capabilities: { ...storage.capabilities, atomicBatch: false } };
}

interface History {
  readonly storage: StorageAdapter;
  readonly lines: readonly string[];
}

/** A session with some history: edits, labels, awkward values, restarts, and prunes that leave retired packs. */
async function history(seed: number, saves: number, storage = memoryStorage()): Promise<History> {
  const random = seededRandom(seed);
  const clock = new VirtualClock();
  const make = () => new CheckpointManager<unknown>({ storage, clock, codecs: [money as ValueCodec] });
  let state: AgentState = agentState(random, 20);
  let checkpoints = make();
  for (let save = 1; save <= saves; save++) {
    for (let edits = 1 + random() * 2; edits > 0; edits--) state = edited(state, random);
    const label = random.chance(0.2) ? { label: `pin \ud83d\ude00 ${save}`, operation: 'think' } : {};
    const metadata = random.chance(0.3) ? { metadata: { at: new Date(save), odd: [undefined, -0, '\ud800'] } } : {};
    await clock.advance(1_000);
    await checkpoints.save(SESSION, { ...state, price: new Money(save) }, { ...label, ...metadata });
    if (random.chance(0.1)) checkpoints = make();
    if (random.chance(0.1)) await checkpoints.prune(SESSION, { keepLast: 8, keepLabels: ['pin \ud83d\ude00 3'] });
  }
  return { storage, lines: await exported(storage) };
}

const folders: string[] = [];
async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-transfer-'));
  folders.push(folder);
  return folder;
}
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

describe('every checkpoint comes back as it was, and is exported as it came', () => {
  const targets: Record<string, () => StorageAdapter | Promise<StorageAdapter>> = {
    memory: memoryStorage,
    files: async () => fileStorage(await newFolder()),
    'small values': smallValues,
    'one value at a time': withoutBatches,
  };

  test.each([
    ['memory', 1],
    ['memory', 2],
    ['files', 3],
    ['small values', 4],
    ['small values', 5],
    ['one value at a time', 6],
  ])('into %s, seed %i', async (name, seed) => {
    const { storage, lines } = await history(seed, 40);
    const target = (await targets[name]?.()) as StorageAdapter;
    const report = await imported(target, lines);
    const content = await contentOf(target);
    expect(content).toEqual(await contentOf(storage));
    expect(await exported(target)).toEqual(lines);
    expect(report).toMatchObject({ session: SESSION, checkpoints: content.length, newest: 40 });
    const reports = new CheckpointManager({ storage: target }).verify(SESSION);
    expect(await reports).toMatchObject({ isIntact: true, checked: content.length });
    await target.close?.();
  });

  test('from a store of small values, with a large state of long texts', async () => {
    const source = smallValues();
    const random = seededRandom(9);
    const checkpoints = new CheckpointManager<unknown>({ storage: source });
    const state = { ...agentState(random, 900), euros: '\u20ac'.repeat(300_000), log: textOf(random, 1_000_000) };
    const { sizeBytes } = await checkpoints.save(SESSION, state);
    await checkpoints.save(SESSION, { ...state, log: `${state.log} and more` });
    expect(sizeBytes).toBeGreaterThan(5_000_000);
    const lines = await exported(source);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(200_000);
    const target = smallValues();
    await imported(target, lines);
    expect(await contentOf(target)).toEqual(await contentOf(source));
    expect(await exported(target)).toEqual(lines);
  });

  test('through a file, written and read by what Node has for it', async () => {
    const { storage, lines } = await history(7, 6);
    const path = join(await newFolder(), 'session.ndjson');
    const task = { skipDamaged: false, onSkipped: () => {} };
    await writeFile(path, exportSession(recordsOf(storage), SESSION, task));
    const target = memoryStorage();
    await imported(target, (await open(path)).readLines());
    expect(await exported(target)).toEqual(lines);
  });

  test.each([
    ['without line feeds', (line: string) => line.trim()],
    ['with line ends of Windows', (line: string) => line.replace('\n', '\r\n')],
    ['with half a line end of Windows', (line: string) => line.replace('\n', '\r')],
  ])('%s, and with an empty line at the end', async (_, changed) => {
    const { lines } = await history(8, 3);
    const target = memoryStorage();
    await imported(target, [...lines.map(changed), '']);
    expect(await exported(target)).toEqual(lines);
  });

  test('as a session of another name', async () => {
    const { storage, lines } = await history(10, 3);
    expect(await imported(storage, lines, { session: 'copy' })).toMatchObject({ session: 'copy', checkpoints: 3 });
    expect(await contentOf(storage, 'copy')).toEqual(await contentOf(storage));
    expect((await exported(storage, 'copy')).slice(1, -1)).toEqual(lines.slice(1, -1));
  });

  test('and the session goes on from there', async () => {
    const { lines } = await history(11, 30);
    const storage = memoryStorage();
    await imported(storage, lines);
    const checkpoints = new CheckpointManager<object>({ storage, codecs: [money as ValueCodec] });
    const { state } = (await checkpoints.restore(SESSION)) ?? { state: {} };
    expect(await checkpoints.save(SESSION, { ...state, more: 1 })).toMatchObject({ sequence: 31, parent: 30 });
    expect(await checkpoints.verify(SESSION, { depth: 'deep' })).toMatchObject({ isIntact: true });
  });

  test('in few packs, each naming the record it was made from', async () => {
    const source = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage: source });
    const list: string[] = [];
    for (let step = 1; step <= 40; step++) {
      list.push(`${step} ${'x'.repeat(2_000)}`);
      await checkpoints.save(SESSION, { list });
    }
    const target = memoryStorage();
    await imported(target, await exported(source));
    let parentHash: string | null = null;
    for (let sequence = 1; sequence <= 40; sequence++) {
      const record = await recordsOf(target).read(SESSION, sequence);
      expect(record?.parentHash).toBe(parentHash);
      parentHash = record?.recordHash as string;
    }
    expect((await recordsOf(target).read(SESSION, 40))?.meta.packs.length).toBeLessThan(20);
  });
});

test('a state that is there again and again is stored once', async () => {
  const source = memoryStorage();
  const checkpoints = new CheckpointManager<unknown>({ storage: source });
  for (const letter of ['x', 'y', 'x', 'y', 'x']) await checkpoints.save(SESSION, [letter.repeat(20_000)]);
  const { storedBytes } = await imported(memoryStorage(), await exported(source));
  expect(storedBytes).toBeLessThan(45_000);
});

describe('an export', () => {
  test('is this text, for ever', async () => {
    const storage = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage, clock: new VirtualClock() });
    const long = 'x'.repeat(3_000);
    const other = 'y'.repeat(3_000);
    await checkpoints.save(SESSION, { parts: [long, other], at: new Date(0) });
    await checkpoints.save(SESSION, { n: 1 }, { label: 'one', operation: 'think', metadata: { big: 1n } });
    const [head, part, part2, root, first, second, third, end, ...others] = await exported(storage);
    const partId = sha256Hex(`"${long}"`);
    const otherId = sha256Hex(`"${other}"`);
    const rootId = JSON.parse(root as string).chunk;
    const secondId = sha256Hex('{"n":1}');
    const references = [partId, otherId].map((id) => `{"ref":"${id}","items":0}`).join(',",",');
    const text = `["{\\"at\\":{\\"$hf:Date\\":0},\\"parts\\":[",${references},"]}"]`;
    const about = '"savedAtMs":1767225600000,"schemaVersion":1';
    const extras = '"label":"one","operation":"think","metadata":"{\\"big\\":{\\"$hf:bigint\\":\\"0x1\\"}}"';
    expect(head).toBe(`{"holdfast":"checkpoints","version":1,"session":"${SESSION}","checkpoints":2}\n`);
    expect(part).toBe(`{"chunk":"${partId}","text":["\\"${long}\\""]}\n`);
    expect(part2).toBe(`{"chunk":"${otherId}","text":["\\"${other}\\""]}\n`);
    expect(root).toBe(`{"chunk":"${rootId}","text":${text}}\n`);
    expect(first).toBe(`{"checkpoint":{"sequence":1,"parent":null,${about},"root":"${rootId}","sizeBytes":6037}}\n`);
    expect(second).toBe(`{"chunk":"${secondId}","text":["{\\"n\\":1}"]}\n`);
    expect(third).toBe(
      `{"checkpoint":{"sequence":2,"parent":1,${about},${extras},"root":"${secondId}","sizeBytes":7}}\n`,
    );
    const sum = sha256Hex([head, part, part2, root, first, second, third].join(''));
    expect(end).toBe(`{"end":true,"lines":7,"sha256":"${sum}"}\n`);
    expect(others).toEqual([]);
  });

  test('of a session that was never saved has no checkpoint, and importing it brings none', async () => {
    const storage = memoryStorage();
    const lines = await exported(storage);
    expect(lines).toHaveLength(2);
    expect(await imported(storage, lines)).toEqual({ session: SESSION, checkpoints: 0, storedBytes: 0 });
    expect(await keysOf(storage)).toEqual([]);
  });

  test('leaves out what is left of checkpoints that were pruned', async () => {
    const storage = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage });
    for (let step = 1; step <= 3; step++) await checkpoints.save(SESSION, { step, text: 'x'.repeat(9_000) });
    await checkpoints.prune(SESSION, { keepLast: 1 });
    expect(await keysOf(storage)).toHaveLength(2);
    const target = memoryStorage();
    await imported(target, await exported(storage));
    expect(await keysOf(target)).toHaveLength(1);
    expect(await contentOf(target)).toEqual(await contentOf(storage));
  });

  test('does not begin for a name that cannot be a session', async () => {
    await expect(exported(memoryStorage(), '')).rejects.toThrow(InvalidInputError);
  });

  test('passes on what the store throws', async () => {
    const { storage } = await history(12, 2);
    const get = async () => Promise.reject(new StorageError('no answer'));
    await expect(exported({ ...storage, get })).rejects.toThrow('no answer');
  });

  test('of a damaged store that cannot tell whether the session exists says so', async () => {
    await expect(exported(suspectStore(memoryStorage()))).rejects.toThrow('cannot tell which keys were there');
  });

  test('leaves out what is pruned while it looks, which is no damage', async () => {
    const storage = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage });
    const texts = ['a', 'a', 'b', 'b', 'b'].map((letter) => letter.repeat(9_000));
    for (const [step, text] of texts.entries()) await checkpoints.save(SESSION, { step, text });
    const oldest = recordsOf(storage).key(SESSION, 1);
    const get: StorageAdapter['get'] = async (key) => {
      if (key === oldest) await checkpoints.prune(SESSION, { keepLast: 3 });
      return storage.get(key);
    };
    const lines = await exported({ ...storage, get });
    expect(JSON.parse(lines[0] as string)).toMatchObject({ checkpoints: 3 });
    expect(lines).toEqual(await exported(storage));
  });

  test('says so when the session is pruned under it', async () => {
    const { storage } = await history(13, 4);
    const lines = exportSession(recordsOf(storage), SESSION, { skipDamaged: false, onSkipped: () => {} });
    await lines.next();
    await new CheckpointManager({ storage }).delete(SESSION);
    await expect(lines.next()).rejects.toThrow(ConflictError);
    await expect(exported(storage)).resolves.toHaveLength(2);
  });
});

describe('of a damaged session', () => {
  /** Three checkpoints that share nothing, the second one damaged as told. */
  async function damaged(at: number) {
    const storage = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage });
    for (let step = 1; step <= 3; step++) await checkpoints.save(SESSION, { step });
    await damage(storage, 2, at);
    return storage;
  }

  async function damage(storage: StorageAdapter, sequence: number, at: number): Promise<void> {
    const key = recordsOf(storage).key(SESSION, sequence);
    const value = (await storage.get(key))?.value as Uint8Array;
    const place = at < 0 ? value.length + at : at;
    value[place] = (value[place] as number) ^ 1;
    await storage.put(key, value);
  }

  async function exportedInPart(storage: StorageAdapter) {
    const lines: string[] = [];
    const skipped: SkippedCheckpoint[] = [];
    const task = { skipDamaged: true, onSkipped: (one: SkippedCheckpoint) => skipped.push(one) };
    for await (const line of exportSession(recordsOf(storage), SESSION, task)) lines.push(line);
    return { lines, skipped };
  }

  test.each([
    ['header', 60],
    ['state', -1],
    ['pack', -18],
  ])('nothing is exported when a %s is damaged, and the checkpoint is named', async (_, at) => {
    const storage = await damaged(at);
    const error = await rejectionOf(exported(storage));
    expect(error).toBeInstanceOf(CorruptionError);
    expect(error).toMatchObject({ message: expect.stringContaining('checkpoints 2 are damaged. Repair the session') });
  });

  test.each([
    ['header', 60],
    ['state', -1],
  ])('the others are exported on request when a %s is damaged, and the count is right', async (_, at) => {
    const storage = await damaged(at);
    const { lines, skipped } = await exportedInPart(storage);
    expect(JSON.parse(lines[0] as string)).toMatchObject({ checkpoints: 2 });
    expect(skipped).toMatchObject([{ sequence: 2, reason: 'corrupt', error: { code: 'HOLDFAST_CORRUPTION' } }]);
    const target = memoryStorage();
    await imported(target, lines);
    expect(await contentOf(target)).toMatchObject([{ sequence: 3, parent: 2 }, { sequence: 1 }]);
    expect(await new CheckpointManager({ storage: target }).verify(SESSION, { depth: 'deep' })).toMatchObject({
      isIntact: true,
    });
  });

  test('nothing is exported when nothing is intact, also on request', async () => {
    const storage = await damaged(-1);
    for (const sequence of [1, 3]) await damage(storage, sequence, -1);
    await expect(exportedInPart(storage)).rejects.toThrow('checkpoints 3, 2, 1 are damaged. None is intact.');
  });

  test('all is exported while another pack has the chunks of a damaged one', async () => {
    const storage = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage });
    const list: string[] = [];
    for (let step = 1; step <= 20; step++) {
      list.push(`${step} ${'x'.repeat(2_000)}`);
      await checkpoints.save(SESSION, { list });
    }
    const whole = await exported(storage);
    await damage(storage, 5, -1); // What was added then is in a merged pack, too.
    expect(await exported(storage)).toEqual(whole);
  });

  test('all is exported when what is damaged is left of a pruned checkpoint', async () => {
    const storage = memoryStorage();
    const records = recordsOf(storage);
    await new CheckpointManager<unknown>({ storage }).save(SESSION, 'first');
    await imported(storage, await exported(storage), { session: 'copy' });
    const meta = { session: SESSION, sequence: 2, retired: true };
    const key = records.key(SESSION, 2);
    await storage.put(key, sealRecord({ key, id: 'any', parent: null, meta }, Buffer.from('no pack')).bytes);
    expect((await exported(storage)).slice(1, -1)).toEqual((await exported(storage, 'copy')).slice(1, -1));
  });

  test('the export ends when a chunk is damaged under it', async () => {
    const { storage } = await history(13, 1);
    const lines = exportSession(recordsOf(storage), SESSION, { skipDamaged: false, onSkipped: () => {} });
    await lines.next();
    await damage(storage, 1, -1);
    await expect(lines.next()).rejects.toThrow(CorruptionError);
  });

  test('nothing is exported of a store that may have lost checkpoints, unless on request', async () => {
    const { storage } = await history(14, 3);
    const suspect: StorageAdapter = {
      ...storage,
      get: async (key) => {
        const entry = await storage.get(key);
        return entry && { ...entry, suspect: true as const };
      },
    };
    await expect(exported(suspect)).rejects.toThrow('checkpoints may be lost');
    expect((await exportedInPart(suspect)).lines).toEqual(await exported(storage));
  });

  test.each([
    ['a chunk that is not text', Buffer.from([0x22, 0xff, 0x22])],
    ['a chunk that is cut in a reference', Buffer.from([0x22, 0x01, 0x22])],
  ])('nothing is exported with %s', async (_, bytes) => {
    const storage = memoryStorage();
    const records = recordsOf(storage);
    const about = { session: SESSION, sequence: 1, parentSequence: null, savedAtMs: 0, schemaVersion: 1, packs: [] };
    const meta = { ...about, root: sha256Hex(bytes), sizeBytes: bytes.length };
    const id = Buffer.from(meta.root, 'hex').toString('latin1');
    const { record } = sealPack(records, { meta, parent: null }, [[id, bytes]]);
    await storage.put(record.header.key, record.bytes);
    await expect(exported(storage)).rejects.toThrow(CorruptionError);
  });
});

/** The lines of an export of these contents, with a first and a last line that are right. */
function linesOf(contents: readonly object[], head: object = {}): string[] {
  const checkpoints = contents.filter((content) => 'checkpoint' in content).length;
  const first = { holdfast: 'checkpoints', version: 1, session: SESSION, checkpoints, ...head };
  const lines = [first, ...contents].map((content) => `${JSON.stringify(content)}\n`);
  return [...lines, JSON.stringify({ end: true, lines: lines.length, sha256: sha256Hex(lines.join('')) })];
}

/** The line of a chunk with this text, and its id. */
function chunkOf(...text: ChunkText) {
  const bytes = bytesOf(text) ?? Buffer.from('not a chunk');
  return { chunk: sha256Hex(bytes), text };
}

function referTo({ chunk }: { chunk: string }) {
  return { ref: chunk, items: 0 };
}

function checkpointOf(sequence: number, { chunk: root }: { chunk: string }, about: object = {}) {
  const checkpoint = { sequence, parent: null, savedAtMs: 0, schemaVersion: 1, root, sizeBytes: 1, ...about };
  return { checkpoint };
}

describe('what is not an export, though its sums are right, is refused with its line, and nothing is written', () => {
  const one = chunkOf('1');
  const two = chunkOf('2');
  const both = chunkOf('[', referTo(one), ',', referTo(two), ']');
  const first = checkpointOf(1, one);
  const stateOf = (text: string) => [chunkOf(text), checkpointOf(1, chunkOf(text), { sizeBytes: text.length })];
  const doubled = [one];
  for (let level = 0; level < 70; level++)
    doubled.push(chunkOf(referTo(doubled[level] ?? one), referTo(doubled[level] ?? one)));
  const top = doubled.at(-1) ?? one;
  const chained = [chunkOf('1111')];
  for (let level = 0; level < 90; level++) chained.push(chunkOf(referTo(chained[level] ?? one)));
  const chain = chained.at(-1) ?? one;
  const metadata = (text: string) => [one, checkpointOf(1, one, { metadata: text })];

  test('while one that is right is taken', async () => {
    const storage = memoryStorage();
    const second = checkpointOf(7, both, { parent: 3, sizeBytes: 5, label: 'both', metadata: '{"a":1}' });
    await imported(storage, linesOf([one, first, two, both, second]));
    expect(await contentOf(storage)).toMatchObject([
      { sequence: 7, parent: 3, label: 'both', metadata: { a: 1 }, state: '[1,2]' },
      { sequence: 1, parent: null, state: '1' },
    ]);
  });

  test.each<[string, number, string, object[], object?]>([
    ['another kind of file', 1, 'is not one that an export of checkpoints begins with', [], { holdfast: 'notes' }],
    ['a newer format', 1, 'says format 2; this holdfast reads 1', [], { version: 2 }],
    ['a format that cannot be', 1, 'line.version', [], { version: '1' }],
    ['no session', 1, 'names a session that cannot be', [], { session: '' }],
    ['a name of half a character', 1, 'names a session that cannot be', [], { session: '\ud800' }],
    ['more in the first line', 1, 'line.more', [], { more: 1 }],
    ['too few checkpoints', 4, 'comes before the 2 checkpoints', [one, first], { checkpoints: 2 }],
    ['too many checkpoints', 4, 'comes before the 0 checkpoints', [one, first], { checkpoints: 0 }],
    ['another first line in between', 2, 'line.end', [{ holdfast: 'checkpoints' }]],
    ['an empty chunk', 2, 'does not match its SHA-256', [chunkOf()]],
    ['a chunk under a wrong name', 2, 'does not match its SHA-256', [{ ...one, chunk: two.chunk }]],
    ['a reference that passes for text', 2, 'does not match its SHA-256', [chunkOf('\u0001')]],
    ['a chunk twice', 3, 'has a chunk that a line before it has', [one, one]],
    ['a chunk that nothing needs', 4, 'does not need 1 of the chunks before it', [one, two, first]],
    ['a chunk that nothing needs at the end', 5, 'comes before the 1 checkpoints', [one, first, two]],
    ['a chunk without a part', 2, `needs chunk ${one.chunk}`, [both]],
    ['parts behind their chunk', 3, `needs chunk ${two.chunk}`, [one, both, two]],
    ['a checkpoint without its state', 2, `needs chunk ${one.chunk}`, [first]],
    ['a label that is too long', 3, 'line.checkpoint.label', [one, checkpointOf(1, one, { label: 'x'.repeat(257) })]],
    ['a checkpoint twice', 4, 'has checkpoint 1, which is not newer', [one, first, first]],
    ['checkpoints that go back', 4, 'has checkpoint 1, which is not newer', [one, checkpointOf(2, one), first]],
    ['a parent that is younger', 3, 'was not made from 2', [one, checkpointOf(1, one, { parent: 2 })]],
    ['a wrong size', 3, 'says that the state has 2 bytes', [one, checkpointOf(1, one, { sizeBytes: 2 })]],
    [
      'a state of 2^70 bytes',
      73,
      'says that the state has 9 bytes',
      [...doubled, checkpointOf(1, top, { sizeBytes: 9 })],
    ],
    [
      'a state of nothing but references',
      93,
      'more references',
      [...chained, checkpointOf(1, chain, { sizeBytes: 4 })],
    ],
    ['a state that is not JSON', 3, 'has a state that holdfast cannot have written', stateOf('{"a":')],
    ['keys out of order', 3, 'has a state that holdfast cannot have written', stateOf('[{"b":1,"a":2}]')],
    ['a key twice', 3, 'has a state that holdfast cannot have written', stateOf('{"a":1,"a":2}')],
    ['a number that is written otherwise', 3, 'has a state that holdfast cannot have written', stateOf('1.0')],
    ['white space in a state', 3, 'has a state that holdfast cannot have written', stateOf('[1, 2]')],
    ['a date that is none', 3, 'has a state that holdfast cannot have written', stateOf('{"$hf:Date":"x"}')],
    ['a type that does not exist', 3, 'has a state that holdfast cannot have written', stateOf('{"$hf:Secret":1}')],
    ['metadata that is a list', 3, 'has metadata that is not an object', metadata('[1]')],
    ['metadata that is a number', 3, 'has metadata that is not an object', metadata('1')],
    ['metadata that is null', 3, 'has metadata that is not an object', metadata('null')],
    ['metadata that is not JSON', 3, 'has a metadata that holdfast', metadata('{')],
    ['too much metadata', 3, 'bytes of metadata; 65536 are allowed', metadata(`{"a":"${'x'.repeat(65_530)}"}`)],
  ])('%s', async (_, line, message, contents, head) => {
    const storage = memoryStorage();
    const error = await rejectionOf(imported(storage, linesOf(contents, head)));
    expect(error).toBeInstanceOf(ImportError);
    expect(error).toMatchObject({ code: 'HOLDFAST_IMPORT', line, message: expect.stringContaining(message) });
    expect(await keysOf(storage)).toEqual([]);
  });

  test.each([
    ['that is cut', 4, 'is missing: the export was cut', (lines: string[]) => lines.slice(0, -1)],
    ['that is empty', 1, 'is missing: the export was cut', () => []],
    ['that goes on', 5, 'stands behind the last one', (lines: string[]) => [...lines, lines[0] ?? '']],
    ['with an empty line', 2, 'is not JSON', (lines: string[]) => [lines[0] ?? '', '', ...lines.slice(1)]],
    ['with a list for a line', 1, 'is not a JSON object', (lines: string[]) => ['7', ...lines]],
    ['all in one', 1, 'is several lines', (lines: string[]) => [lines.join('')]],
    [
      'with another time',
      4,
      'has not the SHA-256',
      (lines: string[]) => lines.with(2, lines[2]?.replace('0', '7') ?? ''),
    ],
    ['without one of its lines', 3, 'says that 3 are before it, not 2', (lines: string[]) => lines.toSpliced(2, 1)],
  ])('an export %s', async (_, line, message, change) => {
    const storage = memoryStorage();
    const error = await rejectionOf(imported(storage, change(linesOf([one, first]))));
    expect(error).toMatchObject({ code: 'HOLDFAST_IMPORT', line, message: expect.stringContaining(message) });
    expect(await keysOf(storage)).toEqual([]);
  });

  test.each([
    ['keys that are numbers, in the order of texts', '{"10":1,"9":2}'],
    ['values of codecs that are not known here', '{"$hf:x-money":{"$hf:Map":[[{"$hf:x-other":1},-1]]}}'],
    ['a key __proto__', '{"__proto__":{"a":1}}'],
  ])('but a state may have %s', async (_, text) => {
    const storage = memoryStorage();
    await imported(storage, linesOf(stateOf(text)));
    const [line] = (await exported(storage)).slice(1);
    expect(JSON.parse(line as string).text).toEqual([text]);
  });

  test('a state beyond the limits of this program is refused as such', async () => {
    const large = linesOf(stateOf(`"${'x'.repeat(200)}"`));
    const deep = linesOf(stateOf('['.repeat(3_000) + ']'.repeat(3_000)));
    const storage = memoryStorage();
    const small = recordsOf(storage, prepareCodecs({ maxBytes: 100 }));
    await expect(importSession(small, large, {})).rejects.toThrow(LimitError);
    await expect(imported(storage, deep)).rejects.toThrow(LimitError);
    expect(await keysOf(storage)).toEqual([]);
  });

  test.each([
    ['one text', linesOf([one, first]).join('')],
    ['nothing', undefined],
    ['no iterable', {}],
    ['buffers', [Buffer.from('{}')]],
  ])('%s instead of lines is refused', async (_, lines) => {
    await expect(imported(memoryStorage(), lines as unknown as string[])).rejects.toThrow(InvalidInputError);
  });

  test('a name that cannot be a session is refused before a line is read', async () => {
    const lines = (function* (): Generator<string> {
      yield expect.unreachable('the lines were read');
    })();
    await expect(imported(memoryStorage(), lines, { session: '' })).rejects.toThrow(InvalidInputError);
  });

  test('what the source of the lines throws is passed on', async () => {
    const lines = (async function* (): AsyncGenerator<string> {
      yield linesOf([one, first])[0] ?? '';
      throw new Error('the disk is gone');
    })();
    await expect(imported(memoryStorage(), lines)).rejects.toThrow('the disk is gone');
  });
});

describe('whatever becomes of its lines, an export is imported as it was or refused, and nothing is written', () => {
  const edits: ((lines: string[], random: SeededRandom, others: readonly string[]) => string[])[] = [
    (lines, random) => {
      const at = random.integer(lines.length);
      const line = lines[at] as string;
      const place = random.integer(line.length - 1);
      const other = String.fromCharCode(32 + random.integer(95));
      return lines.with(at, line.slice(0, place) + other + line.slice(place + 1));
    },
    (lines, random) => lines.toSpliced(random.integer(lines.length), 1),
    (lines, random) => {
      const [one, other] = [random.integer(lines.length), random.integer(lines.length)];
      return lines.with(one, lines[other] as string).with(other, lines[one] as string);
    },
    (lines, random) => {
      const at = random.integer(lines.length);
      return lines.toSpliced(random.integer(lines.length + 1), 0, lines[at] as string);
    },
    (lines, random) => lines.slice(0, random.integer(lines.length)),
    (lines, random) => {
      const at = random.integer(lines.length);
      return lines.with(at, (lines[at] as string).slice(0, random.integer((lines[at] as string).length)));
    },
    (lines, random, others) => lines.with(random.integer(lines.length), random.pick(others)),
    (lines, random, others) => {
      const at = random.integer(lines.length);
      return [...lines.slice(0, at), ...others.slice(1 + random.integer(others.length - 1))];
    },
    (lines, random) => {
      const at = random.integer(lines.length);
      return lines.with(at, (lines[at] as string).replace(':', ': '));
    },
  ];

  test.each([0, 1, 2, 3, 4])('100 edits, seed %i', async (seed) => {
    const random = seededRandom(`edits ${seed}`);
    const { lines } = await history(20 + seed, 5);
    const others = (await history(30 + seed, 5)).lines;
    for (let edit = 0; edit < 100; edit++) {
      const edited = random.pick(edits)([...lines], random, others);
      const storage = memoryStorage();
      const error = await rejectionOf(imported(storage, edited));
      const isRefused = error instanceof ImportError || error instanceof LimitError;
      expect(await keysOf(storage), `edit ${edit}: ${error}`).toHaveLength(isRefused ? 0 : 5);
      if (!isRefused) expect((await exported(storage)).join('') === lines.join('')).toBe(true);
    }
  });
});

describe('an import into a session that is not empty is refused', () => {
  test.each([
    ['with a checkpoint', undefined],
    ['with what is left of pruned ones', { keepLast: 1 }],
  ])('%s, which stays as it is', async (_, retention) => {
    const { lines } = await history(15, 2);
    const storage = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage });
    for (let step = 1; step <= 2; step++) await checkpoints.save(SESSION, { step, text: 'x'.repeat(9_000) });
    if (retention) await checkpoints.prune(SESSION, retention);
    const before = await exported(storage);
    await expect(imported(storage, lines)).rejects.toThrow(`Session "${SESSION}" has checkpoints already`);
    await expect(imported(storage, lines)).rejects.toThrow(ConflictError);
    expect(await exported(storage)).toEqual(before);
  });

  test('and so is one where the store cannot tell', async () => {
    const { lines } = await history(15, 2);
    await expect(imported(suspectStore(memoryStorage()), lines)).rejects.toThrow('cannot tell which keys were there');
  });
});

/** The same store, which asks before each write, by its number from 1. */
function watched(storage: StorageAdapter, before: (write: number) => Promise<unknown>): StorageAdapter {
  let writes = 0;
  return {
    ...storage,
    put: async (key, value, options) => {
      await before(++writes);
      return storage.put(key, value, options);
    },
    ...(storage.batch && {
      batch: async (operations) => {
        await before(++writes);
        return (await storage.batch?.(operations)) ?? '';
      },
    }),
  };
}

const stores: [string, () => StorageAdapter][] = [
  ['all at once', memoryStorage],
  ['one value at a time', withoutBatches],
];

describe.each(stores)('an import that writes %s', (name, make) => {
  const isOne = name === 'one value at a time';
  const full = () => Promise.reject(new NoSpaceError('the disk'));

  test.each(isOne ? [1, 2, 3, 5] : [1])('leaves nothing when write %i fails', async (failing) => {
    const { lines } = await history(16, 5);
    const storage = make();
    const failingOnce = watched(storage, async (write) => (write === failing ? full() : undefined));
    await expect(imported(failingOnce, lines)).rejects.toThrow(NoSpaceError);
    expect(await keysOf(storage)).toEqual([]);
    await expect(imported(storage, lines)).resolves.toMatchObject({ checkpoints: 5 });
  });

  test('takes a write for done that was, although the store could not say so', async () => {
    const { lines } = await history(16, 5);
    const storage = make();
    const unsure = async (written: Promise<string>): Promise<string> => {
      await written;
      throw new OutcomeUnknownError('some key');
    };
    const { put, batch } = storage;
    await imported(
      {
        ...storage,
        put: (key, value, options) => unsure(put(key, value, options)),
        ...(batch && { batch: (operations) => unsure(batch(operations)) }),
      },
      lines,
    );
    expect(await exported(storage)).toEqual(lines);
  });

  test('says that it is not known whether a write happened that is not to be seen', async () => {
    const { lines } = await history(16, 5);
    const storage = make();
    const lost = watched(storage, () => Promise.reject(new OutcomeUnknownError('some key')));
    await expect(imported(lost, lines)).rejects.toThrow(OutcomeUnknownError);
    expect(await keysOf(storage)).toEqual([]);
  });

  test('gives way to one who saved first in the meantime', async () => {
    const { lines } = await history(16, 5);
    const storage = make();
    const other = new CheckpointManager<unknown>({ storage });
    const raced = watched(storage, async (write) => write === 1 && other.save(SESSION, 'mine'));
    await expect(imported(raced, lines)).rejects.toThrow(ConflictError);
    expect(await contentOf(storage)).toMatchObject([{ sequence: 1, state: '"mine"' }]);
    await expect(other.save(SESSION, 'still mine')).resolves.toMatchObject({ sequence: 2 });
  });

  test('gives way to one whose numbers are others', async () => {
    const source = memoryStorage();
    const pruning = new CheckpointManager<unknown>({ storage: source, retention: { keepLast: 2 } });
    for (let step = 1; step <= 5; step++) await pruning.save(SESSION, { step });
    const lines = await exported(source);
    const storage = make();
    const other = new CheckpointManager<unknown>({ storage });
    const raced = watched(storage, async (write) => write === 1 && other.save(SESSION, 'mine'));
    await expect(imported(raced, lines)).rejects.toThrow(ConflictError);
    expect(await contentOf(storage)).toMatchObject([{ sequence: 1, state: '"mine"' }]);
  });
});

describe('where values are written one at a time', () => {
  test('who saves while an import is under way goes on behind it, and both are whole', async () => {
    const { storage: source, lines } = await history(16, 5);
    const storage = withoutBatches();
    const other = new CheckpointManager<unknown>({ storage });
    const raced = watched(storage, async (write) => write === 2 && other.save(SESSION, 'mine'));
    await imported(raced, lines);
    const [newest, ...others] = await contentOf(storage);
    expect(newest).toMatchObject({ sequence: 6, state: '"mine"' });
    expect(others).toEqual(await contentOf(source));
  });

  test.each([2, 3, 4, 5])('a crash at write %i leaves no older state that passes for the newest', async (last) => {
    const { lines } = await history(16, 5);
    const storage = withoutBatches();
    const dead = async () => Promise.reject(new StorageError('the process is gone'));
    let isDead = false;
    const dying = watched(storage, async (write) => {
      isDead ||= write === last;
      if (isDead) await dead();
    });
    const get: StorageAdapter['get'] = (key, options) => (isDead ? dead() : storage.get(key, options));
    const error = await rejectionOf(imported({ ...dying, get }, lines));
    expect(error).toMatchObject({ code: 'HOLDFAST_STORAGE', message: expect.stringContaining('Delete the session') });
    expect((error as Error).cause).toBeInstanceOf(AggregateError);
    const checkpoints = new CheckpointManager<unknown>({ storage, codecs: [money as ValueCodec] });
    const newest = await checkpoints.restore(SESSION, { atLeast: 5 }).catch((damage: unknown) => damage);
    if (newest instanceof Error) expect(newest).toBeInstanceOf(CorruptionError);
    else expect(newest).toMatchObject({ checkpoint: { sequence: 5 }, degraded: false });
    await expect(imported(storage, lines)).rejects.toThrow(ConflictError);
    await checkpoints.delete(SESSION);
    await imported(storage, lines);
    expect(await exported(storage)).toEqual(lines);
  });
});

test('more checkpoints than a store takes at once are written one at a time', async () => {
  const one = chunkOf('1');
  const many = Array.from({ length: 10_001 }, (_, at) => checkpointOf(at + 1, one));
  let writes = 0;
  const storage = watched(memoryStorage(), async (write) => {
    writes = write;
  });
  await imported(storage, linesOf([one, ...many]));
  expect(writes).toBe(10_001);
});

test('the bytes of an import are in memory once', async () => {
  const { lines } = await history(17, 5);
  const exportedSession = await readExport(lines, prepareCodecs());
  for (const storage of [memoryStorage(), smallValues()]) {
    const packs = sealSession(recordsOf(storage), SESSION, exportedSession);
    const buffers = new Set(packs.flatMap(({ record, parts }) => [record, ...parts].map(({ bytes }) => bytes.buffer)));
    for (const { bytes } of exportedSession.chunks.values()) expect(buffers).toContain(bytes.buffer);
  }
});
