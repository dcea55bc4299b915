import { describe, expect, test } from "bun:test";
import { blockIoEntries, countCpus, networkCounters, parsePressure } from "./stats.ts";

describe("stats", () => {
  test("processors of a kernel's list", () => {
    expect(["0", "0-3", "0-3,6", "1,3-4\n"].map(countCpus)).toEqual([1, 4, 5, 3]);
  });

  test("pressure, with and without its second line", () => {
    const some = { avg10: 0.5, avg60: 1.25, avg300: 0, total: 77 };
    const line = "avg10=0.50 avg60=1.25 avg300=0.00 total=77";
    expect(parsePressure(`some ${line}\nfull ${line}\n`)).toEqual({ some, full: some });
    expect(parsePressure(`some ${line}\n`)).toEqual({ some });
    expect(parsePressure("")).toBeUndefined();
  });

  test("operations of devices are named as the kernel does it: clients of v1 look for Read and Write", () => {
    expect(blockIoEntries("254:0 Read 4096\n254:0 Write 0\n254:0 Total 4096\nTotal 4096\n")).toEqual([
      { major: 254, minor: 0, operation: "Read", value: 4096 },
      { major: 254, minor: 0, operation: "Write", value: 0 },
      { major: 254, minor: 0, operation: "Total", value: 4096 },
    ]);
  });

  test("every interface but the loopback", () => {
    const table =
      "Inter-|\n face |\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n  eth1:9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
    expect(Object.keys(networkCounters(table))).toEqual(["eth0", "eth1"]);
    expect(networkCounters(table)["eth0"]).toMatchObject({ receivedBytes: 1, receiveDropped: 4, sentBytes: 5, sendDropped: 8 });
  });
});
