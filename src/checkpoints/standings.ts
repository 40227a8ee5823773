import type { Version } from '../storage/adapter.js';

/** Where a caller stood when it saved or restored last. */
interface Standing {
  /** The newest sequence there was, 0 if none. */
  readonly newest: number;
  /** Version of the checkpoint that the caller's state comes from. */
  readonly version: Version | undefined;
  /** Hash of the record that its last save was about to write. */
  readonly attempt: string | undefined;
}

/** What is found in the store. */
interface Found {
  readonly newest: number;
  readonly base: { readonly sequence: number; readonly version: Version; readonly recordHash: string } | undefined;
}

/** Sessions whose standing is remembered. */
const MAX_STANDINGS = 100_000;

/**
 * Where the states come from that callers are about to save, also after a save of theirs failed: what others have saved
 * since is not gone over until the caller has restored it.
 */
export class Standings {
  readonly #standings = new Map<string, Standing>();

  remember(session: string, standing: Standing): void {
    this.#standings.delete(session);
    this.#standings.set(session, standing);
    const [oldest] = this.#standings.keys();
    if (this.#standings.size > MAX_STANDINGS && oldest !== undefined) this.#standings.delete(oldest);
  }

  forget(session: string): void {
    this.#standings.delete(session);
  }

  /** Is this where the caller stood, or what its save of unknown outcome has made of it? True for one that never stood. */
  isAt(session: string, { newest, base }: Found): boolean {
    const standing = this.#standings.get(session);
    if (standing === undefined) return true;
    if (newest === standing.newest) return base?.sequence !== newest || base.version === standing.version;
    return base?.sequence === newest && base.recordHash === standing.attempt;
  }
}
