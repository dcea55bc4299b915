/**
 * What `promise` comes to, as a function that gives or throws it: `expect(await outcome(promise)).toThrow(…)`. Bun's `rejects` waits for a pending promise
 * without taking what Workers answer, for ever where it needs such an answer (measured, Bun 1.4).
 */
export async function outcome<T>(promise: Promise<T>): Promise<() => T> {
  const [result] = await Promise.allSettled([promise]);
  return () => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  };
}
