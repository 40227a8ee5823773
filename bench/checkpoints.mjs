import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as reads from './checkpoints-reads.mjs';
import { holdfastSaver, postgresServer, replaceFile, sqliteSaver, withFolders } from './checkpoints-savers.mjs';
import * as saves from './checkpoints-saves.mjs';
import { agentState } from './checkpoints-states.mjs';
import { interleave, megabytes, perSecond, throughput, times } from './measure.mjs';

/** QUICK=1: a minute instead of some, with fewer rounds and smaller stores. Its gates are only a hint. */
const isQuick = process.env.QUICK === '1';

/** Saves of 2 KB a second, each caller in a session of its own. */
async function concurrencyRows() {
  return withFolders(async (folder) => {
    const [ours, files, sqlite] = [await folder('ours'), await folder('files'), await folder('sqlite')];
    const checkpoints = holdfastSaver(ours);
    const rival = sqliteSaver(sqlite, { isFull: true });
    const state = agentState(2_048);
    const counted = (turns) => ({ ...state, counters: { ...state.counters, turns } });
    const savers = {
      ours: (session, n) => checkpoints.save(session, counted(n)),
      files: (session, n) => replaceFile(files, session, JSON.stringify(counted(n))),
      SQLite: (session, n) => rival.save(session, counted(n)),
    };
    const cases = {};
    for (const [name, save] of Object.entries(savers)) {
      for (const callers of [1, 64, 256]) {
        cases[`${name} ${callers}`] = () => throughput(callers, (caller, n) => save(`agent-${caller}`, n));
      }
    }
    const rate = await interleave(cases, isQuick ? 2 : 5);
    await checkpoints.close();
    await rival.close();
    const overFiles = rate['ours 64'] / rate['files 64'];
    const overOne = rate['ours 256'] / rate['ours 1'];
    return [
      ...Object.keys(savers).map((name) => ({
        what: `saves of 2 KB, 1 / 64 / 256 sessions at once: ${name}`,
        measured: [1, 64, 256].map((callers) => perSecond(rate[`${name} ${callers}`])).join(', '),
      })),
      { what: '64 at once / file per key', measured: times(overFiles), gate: '>= 5 x', met: overFiles >= 5 },
      { what: '256 at once / one at a time', measured: times(overOne), gate: '>= 20 x', met: overOne >= 20 },
    ];
  });
}

async function memoryRow() {
  const script = fileURLToPath(new URL('./checkpoints-memory.mjs', import.meta.url));
  const grown = async (saver) => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', script, saver]);
    const { sizeBytes, grownBytes } = JSON.parse(stdout);
    return { grownBytes, ratio: grownBytes / sizeBytes };
  };
  const inWords = ({ grownBytes, ratio }) => `${megabytes(grownBytes)} (${times(ratio)})`;
  const ours = await grown('holdfast');
  return {
    what: 'resident memory added at most by saving 27 MB',
    measured: `${inWords(ours)}; SqliteSaver ${inWords(await grown('sqlite'))}`,
    gate: '<= 3 x',
    met: ours.ratio <= 3,
  };
}

export async function rows() {
  const postgres = await postgresServer();
  const how = { postgres, isQuick };
  try {
    return [
      ...(postgres.why ? [{ what: 'PostgresSaver', measured: `not measured: ${postgres.why}` }] : []),
      ...(await saves.rows(how)),
      ...(await reads.rows(how)),
      ...(await concurrencyRows()),
      await memoryRow(),
    ];
  } finally {
    await postgres.stop();
  }
}
