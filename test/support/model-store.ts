import { type FileStorageOptions, fileStorageOn } from '../../src/storage/log/file-storage.js';
import type { StorageEvent } from '../../src/storage/log/storage-event.js';
import { type DiskImage, ModelFileSystem } from './model-file-system.js';

export const ROOT = '/model';

/** A file store over a modelled disk, with the events it reports. */
export function modelStore(fs = new ModelFileSystem(), options: FileStorageOptions = {}) {
  const events: StorageEvent[] = [];
  const storage = fileStorageOn(fs, ROOT, { emit: (event) => events.push(event), ...options });
  return { fs, storage, events };
}

/** The same files with the bytes of one of them changed, and no index file: as after a crash. */
export function edited(image: DiskImage, name: string, edit: (bytes: Buffer) => Buffer): DiskImage {
  const path = `${ROOT}/${name}`;
  const withoutIndex = [...image].filter(([file]) => !file.includes('/index-'));
  return new Map(withoutIndex).set(path, edit(Buffer.from(image.get(path) as Buffer)));
}

/** A disk on which the place where `bad` stands in the first log cannot be read: every read that touches it fails. */
export function withBadSector(fs: ModelFileSystem, bad: string): ModelFileSystem {
  const at = (fs.image().get(`${ROOT}/log-00000001`) as Buffer).indexOf(bad);
  const openLog = fs.openLog.bind(fs);
  fs.openLog = async (path) => {
    const file = await openLog(path);
    const read = (position: number, length: number) => {
      const isHit = position < at + bad.length && position + length > at;
      if (isHit) throw Object.assign(new Error('EIO'), { code: 'EIO' });
      return file.read(position, length);
    };
    return { ...file, read };
  };
  return fs;
}

/** The text of what a key holds; `undefined` if it is absent. */
export async function textOf(storage: { get(key: string): Promise<{ value: Uint8Array } | undefined> }, key: string) {
  const entry = await storage.get(key);
  return entry && Buffer.from(entry.value).toString();
}

/** A promise with its ends in the hand: for holding a call at a certain place. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** A modelled disk whose directory syncs wait until they are let go. */
export class GatedFileSystem extends ModelFileSystem {
  hold: Promise<void> | undefined;

  override async syncDirectory(path: string): Promise<void> {
    await this.hold;
    return super.syncDirectory(path);
  }
}
