import { defineConfig } from 'vitest/config';

// The long lane of the fault table: npm run faults.
export default defineConfig({
  test: {
    include: ['test/faults/full.faults.ts'],
    globalSetup: ['test/support/build-package.ts'],
    pool: 'forks',
    testTimeout: 1_200_000,
    disableConsoleIntercept: true,
  },
});
