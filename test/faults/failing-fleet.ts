import { join } from 'node:path';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { SessionRegistry } from '../../src/sessions/session-registry.js';
import { type FileStorage, fileStorage } from '../../src/storage/log/file-storage.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { bundleProgram } from './bundle-program.js';
import type { Fact, Trouble } from './fleet/fleet-fact.js';
import { type Ending, endingsIn } from './fleet/fleet-ledger.js';
import { type FleetGround, FleetTrial, type HostHandle } from './fleet/fleet-trial.js';
import type { FaultRow } from './row.js';
import { type Child, inScene, type Scene, SEED, turns } from './scene.js';

/** Longer than any pause of a busy machine: only who is frozen is silent for so long. */
const LEASE_MS = 2_000;
/** Of 1,000 failures one may need a person. */
const ENOUGH = 0.999;
/** The mean. In `npm test` the machine has other things to do. */
const MOST_MS = { quick: 5_000, full: 1_000 };

/** A process, and how much of what it said was read. */
class ProcessHost implements HostHandle {
  #read = 0;

  constructor(
    readonly name: string,
    readonly child: Child,
  ) {}

  begin(id: string, trouble: Trouble): void {
    this.child.tell(JSON.stringify({ id, trouble }));
  }

  async kill(): Promise<void> {
    await this.child.kill();
  }

  freeze(): Promise<void> {
    return this.child.freeze();
  }

  thaw(): void {
    this.child.thaw();
  }

  /** What it said since it was last asked. */
  hear(): Fact[] {
    const lines = this.child.lines.slice(this.#read);
    this.#read += lines.length;
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Fact);
  }
}

/** Real processes of this host over one file store. */
class ProcessGround implements FleetGround {
  readonly facts: Fact[] = [];
  readonly patienceMs = 30_000;
  readonly #scene: Scene;
  readonly #program: string;
  readonly #storage: FileStorage;
  readonly #sessions: SessionRegistry<CheckpointManager<unknown>>;
  readonly #hosts: ProcessHost[] = [];

  constructor(scene: Scene, program: string) {
    this.#scene = scene;
    this.#program = program;
    this.#storage = fileStorage(join(scene.folder, 'store'));
    const checkpoints = new CheckpointManager({ storage: this.#storage });
    this.#sessions = new SessionRegistry({ storage: this.#storage, checkpoints, retention: { removeAfterMs: 0 } });
  }

  nowMs(): number {
    return Number(process.hrtime.bigint()) / 1e6;
  }

  async start(name: string): Promise<HostHandle> {
    const child = this.#scene.start(this.#program, this.#scene.folder, name, LEASE_MS);
    const host = new ProcessHost(name, child);
    this.#hosts.push(host);
    return host;
  }

  async pass(): Promise<void> {
    await turns(20);
    for (const host of this.#hosts) this.facts.push(...host.hear());
  }

  endings(ids: readonly string[]): Promise<ReadonlyMap<string, Ending>> {
    return endingsIn(this.#sessions, ids);
  }

  async forget(): Promise<void> {
    await this.#sessions.expire();
  }

  async close(): Promise<void> {
    await this.#sessions.close();
    await this.#storage.close();
  }
}

export const failingFleet: FaultRow = {
  fault: 'sessions of three processes: killed, frozen, damaged, refused, again and again',
  run: (lane) =>
    inScene(async (scene) => {
      const ground = new ProcessGround(scene, await bundleProgram('fleet', scene.folder));
      const { summary, bad } = await new FleetTrial(ground, seededRandom(SEED)).run(lane === 'quick' ? 110 : 1_000);
      await ground.close();
      return {
        tried: summary.failures.length,
        bad: [...bad, ...summary.shortcomings(ENOUGH, MOST_MS[lane])],
        note: summary.note,
      };
    }),
};
