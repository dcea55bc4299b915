import { expect, spyOn, test } from "bun:test";
import { humanSize, layerProgress, progressBar, shortDigest } from "./progress.ts";
import type { ProgressMessage } from "./types.ts";

test("sizes as go-units writes them", () => {
  const rows: [number, string][] = [
    [0, "0B"],
    [1, "1B"],
    [999, "999B"],
    [1000, "1kB"],
    [1024, "1.024kB"],
    [12345, "12.35kB"],
    [2_219_949, "2.22MB"],
    [1_000_000, "1MB"],
    [123_456_789_012, "123.5GB"],
  ];
  for (const [bytes, text] of rows) expect(humanSize(bytes)).toBe(text);
});

test("the bar that old clients print", () => {
  expect(progressBar(0, 0)).toBe("");
  expect(progressBar(1500, 0)).toBe("   1.5kB");
  expect(progressBar(0, 100)).toBe(`[>${" ".repeat(50)}]       0B/100B`);
  expect(progressBar(50, 100)).toBe(`[${"=".repeat(25)}>${" ".repeat(25)}]      50B/100B`);
  expect(progressBar(100, 100)).toBe(`[${"=".repeat(50)}>]     100B/100B`);
  expect(progressBar(200, 100)).toBe(`[${"=".repeat(50)}>]     200B`);
});

test("one layer says little but its end", () => {
  const seen: ProgressMessage[] = [];
  const progress = layerProgress((message) => void seen.push(message), `sha256:${"0123456789abcdef".repeat(4)}`);
  progress.status("Pulling fs layer");
  for (let n = 1; n <= 1000; n++) progress.bytes("Downloading", n, 1000);
  expect(seen[0]).toEqual({ status: "Pulling fs layer", progressDetail: {}, id: "0123456789ab" });
  expect(seen.length).toBeLessThan(100);
  expect(seen.at(-1)).toEqual({ status: "Downloading", progressDetail: { current: 1000, total: 1000 }, progress: progressBar(1000, 1000), id: "0123456789ab" });
  expect(shortDigest("sha256:abc")).toBe("abc");
});

test("the first bytes are told at once, however young the process is", () => {
  const clock = spyOn(performance, "now").mockReturnValue(20);
  try {
    const seen: ProgressMessage[] = [];
    layerProgress((message) => void seen.push(message), "sha256:0123").bytes("Downloading", 1, 1000);
    expect(seen.map(({ status }) => status)).toEqual(["Downloading"]);
  } finally {
    clock.mockRestore();
  }
});
