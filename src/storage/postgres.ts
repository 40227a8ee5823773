export type {
  PostgresClient,
  PostgresNotification,
  PostgresPool,
  PostgresQuery,
  PostgresRow,
  PostgresTypes,
} from './postgres/postgres-pool.js';
export { type PostgresStorage, type PostgresStorageOptions, postgresStorage } from './postgres/postgres-storage.js';
