import { randomUUID } from 'node:crypto';
import { deepFreeze } from '../dist/index.js';
import { holdfastSaver, memorySaver, onDisk, sqliteSaver, withFolders } from './checkpoints-savers.mjs';
import { agentState, edited, editsOf, messageOf, seededRandom } from './checkpoints-states.mjs';
import { interleave, median, megabytes, milliseconds, ms, times } from './measure.mjs';

const KB = 1024;
const SESSION = 'agent';
const APPENDS = 200;
/** Of each contender, by turns: fewer leave it to chance whose turn the garbage collector takes. */
const RESTORES = 15;

/** What is left when a session began with nothing and was saved after each message that came; `each(state, n)` saves. */
async function grow(finalBytes, each) {
  const random = seededRandom(5);
  let state = deepFreeze({ ...agentState(1_500), messages: [] });
  for (let n = 0; n < APPENDS; n++) {
    state = deepFreeze({ ...state, messages: [...state.messages, messageOf(random, finalBytes / APPENDS)] });
    await each(state, n);
  }
  return state;
}

/** 200 appends, then what they take in the store and how long the last state takes to come back. */
async function growthRows(what, finalBytes, gates, { postgres, isQuick }) {
  return withFolders(async (folder) => {
    const [ours, theirs] = [await folder('ours'), await folder('sqlite')];
    const grown = holdfastSaver(ours);
    let info;
    const state = await grow(finalBytes, async (next) => {
      info = await grown.save(SESSION, next);
    });
    const stored = await grown.storedBytes();
    await grown.close();
    const sqlite = sqliteSaver(theirs, { isFull: true });
    await grow(finalBytes, (next, n) => (n === APPENDS - 1 || !isQuick) && sqlite.save(SESSION, next));
    const theirStored = await sqlite.storedBytes();
    const { sizeBytes } = info;
    const ratio = (bytes) => times(bytes / sizeBytes);
    return [
      {
        what: `${APPENDS} appends up to ${what} (${megabytes(sizeBytes)}): stored / final state`,
        measured: ratio(stored),
        gate: `<= ${gates.stored} x`,
        met: stored <= gates.stored * sizeBytes,
      },
      {
        what: `... files on disk; SqliteSaver: stored, files, ${what}`,
        measured: `${ratio(await onDisk(ours))}; ${isQuick ? '(last state only) ' : ''}${ratio(theirStored)}, ${ratio(await onDisk(theirs))}`,
      },
      ...(await restoreRows({ what, gates, ours, theirs, sqlite, state, postgres })),
      await afterRestartRow(what, ours),
    ];
  });
}

/** One restore each of: a new store and manager, a store that is open, and each rival that has the same state. */
async function restoreRows({ what, gates, ours, theirs, sqlite, state, postgres }) {
  const warm = holdfastSaver(ours);
  const rivals = { memory: memorySaver(), ...(postgres.open ? { postgres: await postgres.open() } : {}) };
  for (const rival of Object.values(rivals)) await rival.save(SESSION, state);
  const once = (open) => async () => {
    const saver = open();
    const took = await milliseconds(() => saver.restore(SESSION));
    await saver.close();
    return took;
  };
  const restoreOf = (saver) => () => milliseconds(() => saver.restore(SESSION));
  const took = await interleave(
    {
      cold: once(() => holdfastSaver(ours)),
      warm: restoreOf(warm),
      'SQLite cold': once(() => sqliteSaver(theirs, { isFull: true })),
      SQLite: restoreOf(sqlite),
      ...Object.fromEntries(Object.entries(rivals).map(([name, saver]) => [name, restoreOf(saver)])),
    },
    RESTORES,
  );
  for (const saver of [warm, sqlite, ...Object.values(rivals)]) await saver.close();
  const beside = (ours, rival) => {
    const ratio = took[ours] / took[rival];
    return { measured: times(ratio), gate: '<= 1.5 x', met: ratio <= 1.5 };
  };
  const { coldMs } = gates;
  const gated = coldMs
    ? [
        {
          what: `restore and verify ${what}, cold`,
          measured: ms(took.cold),
          gate: `<= ${coldMs} ms`,
          met: took.cold <= coldMs,
        },
      ]
    : [
        { what: `restore and verify ${what} / getTuple, both stores open`, ...beside('warm', 'SQLite') },
        { what: `... both opened for it`, ...beside('cold', 'SQLite cold') },
      ];
  return [
    ...gated,
    {
      what: `... each, ${what}`,
      measured: Object.entries(took)
        .map(([name, value]) => `${name} ${ms(value)}`)
        .join(', '),
    },
  ];
}

/** The first save of a process that restored: nothing is remembered, yet little has to be stored. */
async function afterRestartRow(what, directory) {
  const { 'append a message': append } = editsOf(100 * KB);
  const saver = holdfastSaver(directory);
  const random = seededRandom(6);
  const state = edited(await saver.restore(SESSION), append, random);
  deepFreeze(state);
  let info;
  const took = await milliseconds(async () => {
    info = await saver.save(SESSION, state);
  });
  await saver.close();
  return {
    what: `first save after a restart, ${what}, a message appended`,
    measured: `${ms(took)}, ${(info.storedBytes / KB).toFixed(1)} KB stored`,
  };
}

/** 1,000 checkpoints of one session: what they say of themselves, without their states. */
async function listRows() {
  const { 'one counter': count } = editsOf(2 * KB);
  return withFolders(async (folder) => {
    const [ours, theirs] = [await folder('ours'), await folder('sqlite')];
    const savers = { warm: holdfastSaver(ours), SQLite: sqliteSaver(theirs, { isFull: true }), memory: memorySaver() };
    for (const saver of Object.values(savers)) {
      const random = seededRandom(4);
      let state = agentState(2 * KB);
      for (let n = 0; n < 1_000; n++) {
        await saver.save(SESSION, state, { metadata: { source: 'loop', step: n } });
        state = edited(state, count, random);
      }
    }
    const listOf = (saver) => async () => milliseconds(async () => requireCount(await saver.list(SESSION), 1_000));
    const cold = async () => {
      const saver = holdfastSaver(ours);
      const took = await listOf(saver)();
      await saver.close();
      return took;
    };
    const cases = Object.fromEntries(Object.entries(savers).map(([name, saver]) => [name, listOf(saver)]));
    const took = await interleave({ ...cases, cold }, 7);
    for (const saver of Object.values(savers)) await saver.close();
    const gate = (what, name) => {
      const share = took.SQLite / took[name];
      const measured = `1/${share.toFixed(share < 10 ? 1 : 0)} (${ms(took[name])})`;
      return { what, measured, gate: '<= 1/50', met: share >= 50 };
    };
    return [
      gate('list of 1,000 checkpoints / SqliteSaver.list, warm', 'warm'),
      gate('... cold: a new store and a new manager', 'cold'),
      { what: '... SqliteSaver, MemorySaver', measured: `${ms(took.SQLite)}, ${ms(took.memory)}` },
    ];
  });
}

function requireCount(count, expected) {
  if (count !== expected) throw new Error(`${count} checkpoints were listed, there are ${expected}.`);
}

/** The first restore from a store that holds `totalBytes` of other sessions' checkpoints. */
async function openRow(what, { stateBytes, totalBytes }) {
  return withFolders(async (folder) => {
    const directory = await folder('store');
    const filling = holdfastSaver(directory);
    const state = agentState(stateBytes);
    const { storedBytes } = await filling.save('other', state);
    const count = Math.ceil(totalBytes / storedBytes);
    for (let n = 0; n < count; n += 256) {
      const some = Array.from({ length: Math.min(256, count - n) }, (_, at) => n + at);
      await Promise.all(some.map((at) => filling.save(`other-${at}`, { ...state, id: randomUUID() })));
    }
    await filling.save(SESSION, agentState(100 * KB));
    const atOnce = holdfastSaver(directory); // The files are those that a kill -9 would leave now.
    const afterKill = await milliseconds(() => atOnce.restore(SESSION));
    await filling.close();
    await atOnce.close();
    const took = [];
    for (let round = 0; round < 5; round++) {
      const saver = holdfastSaver(directory);
      took.push(await milliseconds(() => saver.restore(SESSION)));
      await saver.close();
    }
    const worst = Math.max(median(took), afterKill);
    return {
      what: `open a store of ${megabytes(await onDisk(directory))}, ${what}: first restore after a close, after a kill`,
      measured: `${ms(median(took))}, ${ms(afterKill)}`,
      gate: '<= 200 ms',
      met: worst <= 200,
    };
  });
}

/** Restores of the newest of many checkpoints, each of which changed a part of a state of 32 KB. */
async function depthRow(many) {
  const { 'append a message': append, 'drop the oldest message': drop } = editsOf(32 * KB);
  return withFolders(async (folder) => {
    const saver = holdfastSaver(await folder('store'), { durability: 'process' });
    const fill = async (session, count) => {
      const random = seededRandom(3);
      let state = deepFreeze(agentState(32 * KB));
      for (let n = 0; n < count; n++) {
        await saver.save(session, state);
        state = deepFreeze(edited(edited(state, append, random), drop, random));
      }
    };
    await fill('deep', many);
    await fill('shallow', 10);
    const restores = (session) => () =>
      milliseconds(async () => {
        for (let n = 0; n < 20; n++) await saver.restore(session);
      });
    const took = await interleave({ deep: restores('deep'), shallow: restores('shallow') }, 9);
    await saver.close();
    const ratio = took.deep / took.shallow;
    return {
      what: `restore the latest of ${many.toLocaleString('en')} / of 10`,
      measured: `${times(ratio)} (${ms(took.deep / 20)}, ${ms(took.shallow / 20)})`,
      gate: '<= 2 x',
      met: ratio <= 2,
    };
  });
}

export async function rows({ postgres, isQuick }) {
  const total = (isQuick ? 20 : 100) * KB * KB;
  return [
    ...(await growthRows('5 MB', 5 * KB * KB, { stored: 2.5 }, { postgres, isQuick })),
    ...(await growthRows('100 KB', 100 * KB, { stored: 10, coldMs: 5 }, { postgres, isQuick })),
    ...(await listRows()),
    await openRow('sessions of 100 KB', { stateBytes: 100 * KB, totalBytes: total }),
    await openRow('sessions of 2 KB', { stateBytes: 2 * KB, totalBytes: total }),
    await depthRow(isQuick ? 1_000 : 10_000),
  ];
}
