import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    policies: 'src/policies.ts',
    'storage/file': 'src/storage/file.ts',
    'storage/postgres': 'src/storage/postgres.ts',
    'storage/redis': 'src/storage/redis.ts',
    'storage/sqlite': 'src/storage/sqlite.ts',
    testing: 'src/testing.ts',
  },
  format: ['esm', 'cjs'],
  platform: 'node',
  target: 'node20',
  // p-retry is ESM only: bundled, so that CommonJS hosts and Jest can load holdfast.
  noExternal: ['p-retry', 'is-network-error'],
  // Entries share chunks, so that an error class is the same class whichever entry it came from.
  splitting: true,
  // Rollup then writes the CommonJS files; tsup alone sends them through sucrase, which lowers class fields.
  treeshake: true,
  // `node:sqlite` and other newer modules exist under their prefixed name only.
  removeNodeProtocol: false,
  // tsup 8.5 sets baseUrl while it writes declarations; TypeScript 6 refuses that without this line.
  dts: { compilerOptions: { ignoreDeprecations: '6.0' } },
  clean: true,
});
