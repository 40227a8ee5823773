import { defineConfig } from 'vitest/config';

const wellCovered = { branches: 95 };

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/build-package.ts'],
    // Processes, not threads: tests kill children, change directories and exhaust file descriptors.
    pool: 'forks',
    // Generous: property tests under coverage on a busy machine of two cores take 20 s.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      // json-summary is for tools, text for people, html for the branch that is missing.
      reporter: ['text', 'html', 'json-summary'],
      thresholds: {
        'src/base/**': wellCovered,
        'src/storage/**': wellCovered,
        'src/records/**': wellCovered,
        'src/checkpoints/**': wellCovered,
        'src/policies/**': wellCovered,
        'src/transactions/**': wellCovered,
        'src/sessions/**': wellCovered,
        'src/recovery/**': wellCovered,
        'src/telemetry/**': wellCovered,
        'src/holdfast.ts': wellCovered,
      },
    },
  },
});
