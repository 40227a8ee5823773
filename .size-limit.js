// Minified, with all dependencies, brotli. Most of it is zod: import it as `import * as z from 'zod'`, because
// `import { z } from 'zod'` keeps all of zod with all its languages, about 57 kB more.
const forNode = (config) => ({ ...config, platform: 'node', logLevel: 'error' });

export default [
  { name: 'holdfast', path: 'dist/index.js', limit: '142 kB', modifyEsbuildConfig: forNode },
  { name: 'holdfast/policies', path: 'dist/policies.js', limit: '50 kB', modifyEsbuildConfig: forNode },
  { name: 'holdfast/storage/file', path: 'dist/storage/file.js', limit: '39 kB', modifyEsbuildConfig: forNode },
  { name: 'holdfast/storage/postgres', path: 'dist/storage/postgres.js', limit: '37 kB', modifyEsbuildConfig: forNode },
  { name: 'holdfast/storage/redis', path: 'dist/storage/redis.js', limit: '37 kB', modifyEsbuildConfig: forNode },
  { name: 'holdfast/storage/sqlite', path: 'dist/storage/sqlite.js', limit: '33 kB', modifyEsbuildConfig: forNode },
];
