// The types of the messages, src/protocol.ts, from src/protocol.schema.json. `npm run protocol` writes them.
// It knows as much of JSON Schema as the schema uses, and refuses the rest.

const HEAD = `// What travels between kernel and page, written by \`npm run protocol\` from protocol.schema.json: change that.
// Fields with a question mark are absent from older kernel sides, or said by some widgets alone: what they tell is then not shown.
`;
const WIDE = 120; // characters: a longer union goes over several lines

/** The text of protocol.ts for a schema. */
export function typescript(schema) {
  return [HEAD, ...Object.entries(schema.$defs).map(([name, def]) => declaration(name, def))].join("\n");
}

function declaration(name, def) {
  const comment = def.description ? `/** ${def.description} */\n` : "";
  if (def.properties) {
    const fields = Object.entries(def.properties).map(([field, value]) => `  ${field}${isOptional(def, field) ? "?" : ""}: ${typeOf(value)};${remark(value)}\n`);
    return `${comment}export interface ${name} {\n${fields.join("")}}\n`;
  }
  const type = typeOf(def);
  const text = type.length > WIDE ? `\n  | ${type.replaceAll(" | ", "\n  | ")}` : ` ${type}`;
  return `${comment}export type ${name} =${text};\n`;
}

/** May the page meet a message without it? */
export function isOptional(def, field) {
  return !def.required.includes(field) || def.properties[field].addedLater === true;
}

const remark = ({ description }) => (description ? ` // ${description}` : "");

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.replace("#/$defs/", "");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return either.map(typeOf).join(" | ");
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ type })).join(" | ");
  switch (schema.type) {
    case "string":
    case "boolean":
    case "null":
    case "number":
      return schema.type;
    case "integer":
      return "number";
    case "array": {
      if (schema.prefixItems) return `[${schema.prefixItems.map((item) => `${item.title}: ${typeOf(item)}`).join(", ")}]`;
      const item = typeOf(schema.items);
      const several = schema.items.anyOf || schema.items.enum || Array.isArray(schema.items.type);
      return several ? `(${item})[]` : `${item}[]`;
    }
    case "object":
      if (typeof schema.additionalProperties === "object") return `Record<string, ${typeOf(schema.additionalProperties)}>`;
  }
  throw new Error(`protocol.schema.json says what protocol.mjs does not know: ${JSON.stringify(schema)}`);
}
