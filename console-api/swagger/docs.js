"use strict";
// Logs in, fetches the OpenAPI document with the session, and has Swagger UI send the session with every request.
const form = document.getElementById("login");
const refusal = document.getElementById("refusal");

async function answer(response) {
  const body = await response.json();
  if (!response.ok) {
    throw new Error(body.detail || response.statusText);
  }
  return body;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  refusal.textContent = "";
  const credentials = {
    user: document.getElementById("user").value,
    password: document.getElementById("password").value,
  };
  try {
    const { session } = await answer(await fetch("/api/v1/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(credentials),
    }));
    const headers = { authorization: `Bearer ${session}` };
    const spec = await answer(await fetch("/api/v1/openapi.json", { headers }));
    form.remove();
    SwaggerUIBundle({
      spec,
      dom_id: "#document",
      deepLinking: false,
      validatorUrl: null,
      requestInterceptor: (request) => {
        // The session goes to this server and to nobody else.
        if (new URL(request.url, location.href).origin === location.origin && !request.headers.Authorization) {
          request.headers.Authorization = headers.authorization;
        }
        return request;
      },
    });
  } catch (error) {
    refusal.textContent = error.message;
  }
});
