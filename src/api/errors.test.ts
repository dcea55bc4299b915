import { expect, test } from "bun:test";
import { RegistryError } from "../distribution/errors.ts";
import { conflict, unavailable } from "../lib/errors.ts";
import { errorAnswer } from "./errors.ts";

test("kinds become codes", () => {
  expect(errorAnswer(conflict("taken"))).toEqual({ status: 409, message: "taken", unexpected: false });
  expect(errorAnswer(unavailable("no swarm"))).toEqual({ status: 503, message: "no swarm", unexpected: false });
});

test("a registry that doesn't answer is a 500, as dockerd says, and no fault of ours", () => {
  const refused = new RegistryError("unavailable", 'Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused');
  expect(errorAnswer(refused)).toEqual({ status: 500, message: refused.message, unexpected: false });
  expect(errorAnswer(new RegistryError("unauthorized", "no")).status).toBe(401);
});

test("what is no EngineError is ours to look at", () => {
  expect(errorAnswer(new TypeError("x is not a function"))).toMatchObject({ status: 500, unexpected: true });
});
