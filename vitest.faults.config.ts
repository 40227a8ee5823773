import { defineConfig } from 'vitest/config';

// The long lane of the fault table: npm run faults.
export default defineConfig({
  test: {
    include: ['test/faults/*.faults.ts'],
    globalSetup: ['test/support/build-package.ts'],
    pool: 'forks',
    fileParallelism: false, // Rows with real processes measure times.
    testTimeout: 3_600_000,
    disableConsoleIntercept: true,
  },
});
