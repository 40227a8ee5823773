export {
  fromNodeRedis,
  type NodeRedisClient,
  type NodeRedisCluster,
  type NodeRedisReplies,
  type NodeRedisSubscriber,
} from './redis/from-node-redis.js';
export type {
  IoredisClient,
  IoredisSubscriber,
  RedisCommand,
  RedisConnection,
  RedisListener,
  RedisSubscription,
} from './redis/redis-connection.js';
export { type RedisStorage, type RedisStorageOptions, redisStorage } from './redis/redis-storage.js';
