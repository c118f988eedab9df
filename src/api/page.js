// Shows the description of the read API, and sends requests. Texts are set as texts, never as HTML.
"use strict";

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolve(description, schema) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? description.components.schemas[name] : schema;
}

function limits(field) {
  const parts = [];
  if (field.minimum !== undefined) parts.push("at least " + field.minimum);
  if (field.maximum !== undefined) parts.push("at most " + field.maximum);
  if (field.pattern) parts.push(field.pattern);
  return parts.join(", ");
}

function fields(schema) {
  const table = element("table");
  for (const [name, field] of Object.entries(schema.properties || {})) {
    table.append(element("tr", "", element("td", "", element("code", name)), element("td", [].concat(field.type).join(" or ")),
      element("td", field.description || ""), element("td", limits(field))));
  }
  return table;
}

function example(schema) {
  const body = {};
  for (const [name, field] of Object.entries(schema.properties || {})) {
    if (name === "token") continue;
    body[name] = field.type === "integer" ? field.minimum || 1 : "";
  }
  return JSON.stringify(body, null, 2);
}

async function send(path, text, shown) {
  try {
    const body = Object.assign({ token: document.getElementById("token").value }, JSON.parse(text));
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const received = await answer.text();
    let pretty = received;
    try { pretty = JSON.stringify(JSON.parse(received), null, 2); } catch { /* Shown as it is. */ }
    shown.textContent = answer.status + "\n" + pretty.slice(0, 200000);
  } catch (error) {
    shown.textContent = String(error);
  }
}

function operation(description, path, post) {
  const schema = resolve(description, post.requestBody.content["application/json"].schema);
  const query = (post.parameters || []).map((parameter) => parameter.name);
  const text = element("textarea", example(schema));
  text.setAttribute("aria-label", "Request of " + path);
  const shown = element("pre");
  const button = element("button", "Send");
  const boxes = query.map((name) => {
    const box = element("input");
    box.type = "checkbox";
    return [name, box];
  });
  button.addEventListener("click", () => {
    const set = boxes.filter(([, box]) => box.checked).map(([name]) => name + "=true").join("&");
    send(".." + path + (set ? "?" + set : ""), text.value, shown);
  });
  const labels = boxes.map(([name, box]) => element("label", "", box, " " + name));
  return element("details", "", element("summary", "", element("code", path), " " + (post.summary || "")),
    element("p", post.description || ""), fields(schema), text, element("p", "", button, " ", ...labels), shown);
}

fetch("../openapi.json").then((answer) => answer.json()).then((description) => {
  document.getElementById("about").textContent = description.info.description;
  const paths = document.getElementById("paths");
  for (const [path, methods] of Object.entries(description.paths)) {
    if (methods.post) paths.append(operation(description, path, methods.post));
  }
}).catch((error) => { document.getElementById("about").textContent = "The description can't be read: " + error; });
