import type { WaitCondition } from "../../containers/types.ts";
import { invalidArgument } from "../../lib/errors.ts";
import { endpoint, json } from "../endpoint.ts";
import type { ContainerWaited } from "../types/containers.ts";

const conditions: readonly string[] = ["not-running", "next-exit", "removed"] satisfies WaitCondition[];

/** Headers at once (so that a client knows that it waits before it starts the container), the body at the exit. */
export const waitContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/wait",
  handler: async ({ services, params, query, api, exchange, signal }) => {
    const given = api < 30 ? "" : query.text("condition");
    if (given !== "" && !conditions.includes(given)) throw invalidArgument(`invalid condition: ${JSON.stringify(given)}`);
    const condition = (given || "not-running") as WaitCondition;
    const { result } = services.containers.wait(params.id!, condition, signal);
    const stream = api < 30 ? undefined : exchange.stream(200, { "Content-Type": "application/json" });
    const { exitCode, error } = await result;
    const answer: ContainerWaited = { StatusCode: exitCode, ...(error === undefined ? {} : { Error: { Message: error } }) };
    if (stream === undefined) return json(answer);
    stream.write(JSON.stringify(answer) + "\n");
    stream.end();
  },
});
