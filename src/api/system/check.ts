import type { CheckProblem } from "../../images/check/types.ts";
import { registryConfig } from "../auth.ts";
import { endpoint } from "../endpoint.ts";
import { ProgressStream } from "../streams/progress.ts";

/** What people are told while it goes on, at most so often (milliseconds). */
const tellEvery = 100;

/**
 * Berth's own: looks at everything that is stored. JSON lines as pull has them: progress by stage, each problem as `aux.problem` when it is found, and at the
 * end the whole report as `aux.report`. With `repair` it mends, from private registries with the credentials of `X-Registry-Config`; with `quick` it reads no bytes. It ends with its connection.
 */
export const checkStorage = endpoint({
  method: "POST",
  path: "/berth/system/check",
  handler: async ({ services, query, exchange, signal }) => {
    const progress = new ProgressStream(exchange);
    let toldAt = 0;
    let stage = "";
    await progress.run(async () => {
      const report = await services.system.check({
        repair: query.bool("repair"),
        quick: query.bool("quick"),
        signal,
        auths: registryConfig(exchange.head.headers),
        onProgress: (id, current, total) => {
          const now = performance.now();
          if (id === stage && current < total && now - toldAt < tellEvery) return;
          [stage, toldAt] = [id, now];
          void progress.send({ status: "Checking", id, progressDetail: { current, total } });
        },
        onProblem: (problem: CheckProblem) => void progress.send({ aux: { problem } }),
      });
      await progress.send({ aux: { report } });
    });
  },
});
