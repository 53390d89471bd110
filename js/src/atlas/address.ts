// The address of a unit: "layer2.0.conv1/17", with what an address cannot hold encoded.

export interface Address {
  layer: string;
  unit: number | null; // null: the layer
}

export function written({ layer, unit }: Address): string {
  const name = encodeURIComponent(layer);
  return unit === null ? name : `${name}/${unit}`;
}

/** Reads "#layer/unit", "layer/unit" or "layer"; null: it names nothing. */
export function readAddress(text: string): Address | null {
  const bare = text.replace(/^#/, "");
  if (!bare) return null;
  const [, name, unit] = /^(.*?)(?:\/(\d+))?$/s.exec(bare)!;
  if (!name) return null;
  try {
    return { layer: decodeURIComponent(name), unit: unit === undefined ? null : Number(unit) };
  } catch {
    return { layer: name, unit: unit === undefined ? null : Number(unit) }; // a lone "%"
  }
}
