import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * What happens to the first message of a client that holds the marker. `before`: it never reaches the server. `after`: the
 * server does it, and its answer never reaches the client. `dying`: the server does it, and in place of its answer the client
 * hears that the session was ended, as by a server that is stopped between the two. `late`: the client is cut off, and the
 * server gets it when `deliver` is called.
 */
export type Accident = 'before' | 'after' | 'dying' | 'late';

/** The ErrorResponse of a session that is ended: "E", its length, fields of a letter and a text each, and a zero. */
const ENDED_BY_ADMINISTRATOR = (() => {
  const fields = Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0');
  const head = Buffer.from('E\0\0\0\0');
  head.writeInt32BE(fields.byteLength + 4, 1);
  return Buffer.concat([head, fields]);
})();

/** Stands between clients and a server's socket, and cuts the line where it matters. */
export class PostgresProxy {
  readonly #folder = mkdtempSync(join(tmpdir(), 'holdfast-proxy-'));
  readonly #target: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #armed: { readonly accident: Accident; readonly marker: string } | undefined;
  #held: (() => void) | undefined;
  /** Accidents that happened. */
  accidents = 0;

  private constructor(target: string) {
    this.#target = target;
    this.#server = createServer((client) => this.#join(client));
  }

  static async before(socket: string): Promise<PostgresProxy> {
    const proxy = new PostgresProxy(socket);
    await new Promise<void>((resolve) => proxy.#server.listen(join(proxy.#folder, '.s.PGSQL.5432'), resolve));
    return proxy;
  }

  url(user = 'postgres'): string {
    return `postgres://${user}@localhost/postgres?host=${encodeURIComponent(this.#folder)}`;
  }

  /** Once, at the next message with `marker` in it. */
  arm(accident: Accident, marker: string): void {
    this.#armed = { accident, marker };
  }

  /** Hands over what came `late`. */
  deliver(): void {
    this.#held?.();
    this.#held = undefined;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #join(client: Socket): void {
    const server = createConnection(this.#target);
    let isCut = false;
    let lastWords: Buffer | undefined;
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    }
    client.on('close', () => isCut || server.destroy());
    server.on('close', () => client.destroy());
    server.on('data', (bytes) => {
      if (!isCut) return void client.write(bytes);
      if (lastWords === undefined) client.destroy();
      else client.end(lastWords);
      server.destroy();
    });
    client.on('data', (bytes) => {
      const armed = this.#armed;
      if (armed === undefined || !bytes.includes(armed.marker)) return void server.write(bytes);
      this.#armed = undefined;
      this.accidents++;
      isCut = true; // From now on an answer is the end of it.
      if (armed.accident === 'dying') lastWords = ENDED_BY_ADMINISTRATOR;
      if (armed.accident === 'after' || armed.accident === 'dying') return void server.write(bytes);
      client.destroy();
      if (armed.accident === 'before') return void server.destroy();
      this.#held = () => server.write(bytes);
    });
  }
}
