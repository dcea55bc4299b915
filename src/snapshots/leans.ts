/** Thrown where a layer leans on parents that were not given: it must be unpacked again with them at hand. */
export class LeansOnParents extends Error {
  constructor() {
    super("the layer leans on its parents");
    this.name = "LeansOnParents";
  }
}
