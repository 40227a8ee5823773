/**
 * What `work` gives, unless `listen` tells of an end before: then that error. Listens before the work begins, which is not
 * called off; nobody listens any more when this has settled.
 */
export function unlessEnded<Answer>(
  work: () => Promise<Answer>,
  listen: (end: (error: unknown) => void) => () => void,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let leave = () => {};
    const end = (error: unknown) => {
      leave();
      reject(error);
    };
    leave = listen(end);
    work().then((answer) => {
      leave();
      resolve(answer);
    }, end);
  });
}
