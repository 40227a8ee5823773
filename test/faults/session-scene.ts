import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { SessionRegistry } from '../../src/sessions/session-registry.js';
import { type FileStorage, fileStorage } from '../../src/storage/log/file-storage.js';
import { bundleProgram } from './bundle-program.js';
import { type Child, inScene, type Scene } from './scene.js';

/** What the processes of `programs/sessions.ts` save. */
export interface SavedState {
  readonly count: number;
  readonly by: string;
}

/** A folder with a store, this process's registry on it, and the means to start others. */
export class SessionScene {
  readonly storage: FileStorage;
  readonly checkpoints: CheckpointManager<SavedState>;
  readonly sessions: SessionRegistry<CheckpointManager<SavedState>>;

  constructor(
    readonly scene: Scene,
    readonly program: string,
    readonly leaseMs: number,
  ) {
    this.storage = fileStorage(join(scene.folder, 'store'));
    this.checkpoints = new CheckpointManager<SavedState>({ storage: this.storage });
    this.sessions = new SessionRegistry({ storage: this.storage, checkpoints: this.checkpoints, leaseMs });
  }

  start(name: string, task: 'hold' | 'rescue', count = 0): Child {
    return this.scene.start(this.program, this.scene.folder, name, task, count, this.leaseMs);
  }

  /** What was done outside in the name of sessions: id, fence, by whom, what. */
  async effects(): Promise<string[][]> {
    const text = await readFile(join(this.scene.folder, 'effects'), 'utf8').catch(() => '');
    return text.split('\n').flatMap((line) => (line === '' ? [] : [line.split(' ')]));
  }
}

/** Plays a scene with sessions; afterwards no process of it runs and its folder is gone. */
export function inSessionScene<Result>(
  leaseMs: number,
  play: (scene: SessionScene) => Promise<Result>,
): Promise<Result> {
  return inScene(async (scene) => {
    const played = new SessionScene(scene, await bundleProgram('sessions', scene.folder), leaseMs);
    try {
      return await play(played);
    } finally {
      await played.sessions.close();
      await played.storage.close();
    }
  });
}
