/**
 * What `work` gives, unless `listen` tells of an end before: then that error. The work is not called off; nobody listens
 * any more when this has settled.
 */
export async function unlessEnded<Answer>(
  work: Promise<Answer>,
  listen: (end: (error: unknown) => void) => () => void,
): Promise<Answer> {
  let leave = () => {};
  const ended = new Promise<never>((_, reject) => {
    leave = listen(reject);
  });
  try {
    return await Promise.race([work, ended]);
  } finally {
    leave();
  }
}
