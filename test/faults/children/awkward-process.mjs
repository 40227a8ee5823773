// Opens a store in a process that is not allowed everything, and says what came of it.
import { closeSync, openSync } from 'node:fs';
import { fileStorage } from 'holdfast';
import { say } from './speech.mjs';

const [folder, act, mask = '0'] = process.argv.slice(2);
const storage = fileStorage(folder);
const put = () => storage.put('key', Buffer.from('value'));
const failureOf = (work) =>
  work().then(
    () => undefined,
    (error) => error,
  );

/** Opens files until the system refuses. */
function takeAllFiles() {
  const taken = [];
  for (;;) {
    try {
      taken.push(openSync('/dev/null'));
    } catch (error) {
      if (error.code === 'EMFILE') return taken;
      throw error;
    }
  }
}

async function sayFailure(work) {
  const error = await failureOf(work);
  say(error === undefined ? 'works' : `${error.code}: ${error.message} (${error.cause?.code})`);
}

const acts = {
  async mask() {
    process.umask(Number.parseInt(mask, 8));
    await sayFailure(put);
  },
  async nobody() {
    if (process.getuid() === 0) process.setuid(65_534);
    await sayFailure(put);
  },
  async 'no-files-to-open'() {
    const taken = takeAllFiles();
    await sayFailure(put);
    for (const fd of taken) closeSync(fd);
    await sayFailure(put);
  },
  /** The store is open, and its log has no room for a second file: compaction cannot begin. */
  async 'no-files-to-compact'() {
    await put();
    const small = fileStorage(folder, { compactAtBytes: 4096, emit: ({ type }) => say(type) });
    await small.put('key', Buffer.alloc(1000));
    const taken = takeAllFiles();
    for (let count = 0; count < 10; count++) await small.put('key', Buffer.alloc(1000));
    for (const fd of taken) closeSync(fd);
    await sayFailure(() => small.put('key', Buffer.from('value')));
    await small.close();
  },
};
await acts[act]();
await storage.close();
