import { misbehaviour } from "../distribution/errors.ts";
import { mediaTypes } from "../oci/image.ts";

/** A layer's media type in a manifest of OCI's or of Docker's kind. */
export function layerType(mediaType: string, oci: boolean): string {
  if (mediaType.endsWith("zstd")) return mediaTypes.ociLayerZstd;
  if (mediaType.endsWith("gzip")) return oci ? mediaTypes.ociLayerGzip : mediaTypes.dockerLayerGzip;
  if (mediaType.endsWith(".tar")) return oci ? mediaTypes.ociLayer : mediaTypes.dockerLayer;
  throw misbehaviour(`a layer has the unsupported media type ${JSON.stringify(mediaType.slice(0, 100))}`);
}
