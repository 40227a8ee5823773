import { deepFreeze } from '../dist/index.js';
import { holdfastSaver, memorySaver, sqliteSaver, withFolders } from './checkpoints-savers.mjs';
import { agentState, edited, editsOf, seededRandom } from './checkpoints-states.mjs';
import { median, milliseconds, times } from './measure.mjs';

const KB = 1024;
const sizes = { '2 KB': 2 * KB, '100 KB': 100 * KB, '5 MB': 5 * KB * KB };

/** Who saves what is built anew where it changed, ours frozen, and who saves one object that is changed in place. */
async function contestants(folder, postgres) {
  return {
    frozen: { saver: holdfastSaver(await folder('frozen')), State: FrozenState },
    mutable: { saver: holdfastSaver(await folder('mutable')), State: MutableState },
    full: { saver: sqliteSaver(await folder('full'), { isFull: true }), State: ImmutableState },
    normal: { saver: sqliteSaver(await folder('normal'), { isFull: false }), State: ImmutableState },
    memory: { saver: memorySaver(), State: ImmutableState },
    ...(postgres.open ? { postgres: { saver: await postgres.open(), State: ImmutableState } } : {}),
  };
}

class ImmutableState {
  constructor(sizeBytes) {
    this.now = agentState(sizeBytes);
    this.random = seededRandom(99);
  }
  edit(edit) {
    this.now = edited(this.now, edit, this.random);
  }
}

class FrozenState extends ImmutableState {
  /** Milliseconds that freezing took, for each edit. */
  freezing = [];
  constructor(sizeBytes) {
    super(sizeBytes);
    deepFreeze(this.now);
  }
  edit(edit) {
    super.edit(edit);
    const start = performance.now();
    deepFreeze(this.now);
    this.freezing.push(performance.now() - start);
  }
}

class MutableState extends ImmutableState {
  edit(edit) {
    edit?.change(this.now[edit.part], this.random);
  }
}

/** Longest time in which nobody else had a turn while `act` ran, in milliseconds. */
async function longestStall(act) {
  let [longest, last, isOver] = [0, performance.now(), false];
  const look = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  const tick = () => {
    look();
    if (!isOver) setImmediate(tick);
  };
  setImmediate(tick);
  await act();
  look();
  isOver = true;
  return longest;
}

/**
 * Saves of one size after edits of one kind, by each contestant in turn. A small state would soon be another one: it
 * begins anew, in a session of its own, `isFresh` each round. Answers for each contestant with `took` (the median save of
 * each round), `bytes` (a save, on average), `stall` (the median of the longest ones) and its last state.
 */
async function race({ sizeBytes, edit, rounds, isFresh, savesOf, stalls }, postgres) {
  return withFolders(async (folder) => {
    const results = {};
    for (const [name, contestant] of Object.entries(await contestants(folder, postgres))) {
      results[name] = { ...contestant, name, took: [], saves: 0, bytes: 0 };
    }
    for (let round = 0; round <= rounds; round++) {
      for (const result of rotated(Object.values(results), round)) {
        if (round === 0 || isFresh) await begin(result, sizeBytes, `agent-${round}`);
        const took = await timedSaves(result, edit, savesOf(result.name));
        if (round > 0) result.took.push(took);
      }
    }
    for (const result of Object.values(results)) await finish(result, edit, stalls);
    requireSame(results);
    return results;
  });
}

/** Whoever leaves garbage behind leaves it to another each time. */
const rotated = (list, by) => [...list.slice(by % list.length), ...list.slice(0, by % list.length)];

async function begin(result, sizeBytes, session) {
  result.state = new result.State(sizeBytes);
  result.session = session;
  await result.saver.save(session, result.state.now);
}

/** Median of so many saves, each after an edit. */
async function timedSaves(result, edit, saves) {
  const { saver, state, session } = result;
  const before = await saver.storedBytes();
  const took = [];
  for (let n = 0; n < saves; n++) {
    state.edit(edit);
    took.push(await milliseconds(() => saver.save(session, state.now)));
  }
  result.bytes += (await saver.storedBytes()) - before;
  result.saves += saves;
  return median(took);
}

async function finish(result, edit, stalls) {
  const { saver, state, session } = result;
  result.bytes /= result.saves;
  const seen = [];
  for (let n = 0; n < stalls; n++) {
    state.edit(edit);
    seen.push(await longestStall(() => saver.save(session, state.now)));
  }
  if (stalls > 0) result.stall = median(seen);
  result.restored = JSON.stringify(sorted(await saver.restore(session)));
  await saver.close();
}

/** A figure for a save is worth nothing if the state does not come back. */
function requireSame(results) {
  for (const { name, state, restored } of Object.values(results)) {
    if (restored !== JSON.stringify(sorted(state.now))) throw new Error(`${names[name]} gave back another state.`);
  }
}

function sorted(value) {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  return Object.fromEntries(
    Object.keys(value)
      .toSorted()
      .map((key) => [key, sorted(value[key])]),
  );
}

const names = {
  frozen: 'frozen',
  mutable: 'mutable',
  full: 'SQLite FULL',
  normal: 'SQLite default',
  memory: 'Memory',
  postgres: 'Postgres',
};
const figures = (results, figure) =>
  Object.keys(results)
    .map((name) => `${names[name]} ${figure(results[name])}`)
    .join(', ');
const inMs = (value) => (value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : value.toFixed(0));
const inKb = (bytes) => (bytes < 10 * KB ? (bytes / KB).toFixed(1) : (bytes / KB).toFixed(0));

/** How many times as much, within each round: only that holds on a machine that others use. */
const over = (one, other) => median(one.took.map((took, round) => took / other.took[round]));

function raceRows(what, results) {
  const { frozen, mutable, full } = results;
  const ratio = (ours) => times(over(full, ours));
  const rows = [
    {
      what: `${what}: save, ms`,
      measured: `${figures(results, ({ took }) => inMs(median(took)))}; FULL / frozen ${ratio(frozen)}, FULL / mutable ${ratio(mutable)}`,
    },
    { what: `${what}: stored a save, KB`, measured: figures(results, ({ bytes }) => inKb(bytes)) },
  ];
  if (frozen.stall === undefined) return rows;
  return [
    ...rows,
    { what: `${what}: longest stall of the event loop, ms`, measured: figures(results, ({ stall }) => inMs(stall)) },
  ];
}

function gateRows({ frozen, mutable, full }) {
  const faster = over(full, frozen);
  const share = frozen.bytes / full.bytes;
  const slower = over(mutable, full);
  return [
    {
      what: '5 MB frozen, a message appended: SqliteSaver FULL / ours',
      measured: times(faster),
      gate: '>= 30 x',
      met: faster >= 30,
    },
    {
      what: '... bytes a save: ours / SqliteSaver (merged packs included)',
      measured: `1/${Math.round(1 / share)}`,
      gate: '<= 1/100',
      met: share <= 1 / 100,
    },
    {
      what: '5 MB changed in place: ours / SqliteSaver FULL',
      measured: `${slower.toFixed(2)} x`,
      gate: '<= 1 x',
      met: slower <= 1,
    },
    {
      what: '... bytes a save, changed in place and frozen',
      measured: `${Math.round(mutable.bytes)} B, ${Math.round(frozen.bytes)} B`,
      gate: 'the same',
      met: mutable.bytes === frozen.bytes,
    },
    {
      what: '... deepFreeze of the state after the edit, not counted as saving',
      measured: `${inMs(median(frozen.state.freezing))} ms`,
    },
  ];
}

/** Every size with every edit. The one with gates gets more rounds. */
export async function rows({ postgres, isQuick }) {
  const table = [];
  for (const [size, sizeBytes] of Object.entries(sizes)) {
    const isLarge = size === '5 MB';
    for (const [what, edit] of Object.entries(editsOf(sizeBytes))) {
      const isAppend = what === 'append a message';
      if (isQuick && isLarge && !isAppend) continue;
      const rounds = isQuick ? 2 : isLarge && !isAppend ? 3 : 9;
      const how = { sizeBytes, edit, rounds, isFresh: !isLarge, savesOf: savesOf(size), stalls: isAppend ? 5 : 0 };
      const results = await race(how, postgres);
      table.push(...raceRows(`${size}, ${what}`, results));
      if (isLarge && isAppend) table.push(...gateRows(results));
    }
  }
  return table;
}

/** Saves a round: as many as leave a small state about what it was, and as a slow saver has time for. */
const savesOf = (size) => (name) => {
  if (size !== '5 MB') return size === '2 KB' ? 3 : 8;
  return { frozen: 8, mutable: 8, postgres: 1 }[name] ?? 2;
};
