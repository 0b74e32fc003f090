// Quotes, with nothing but Node: GET / answers one.
const http = require("node:http");

const QUOTES = ["Simplicity is prerequisite for reliability.", "Make it work, make it right, make it fast."];

const server = http.createServer((request, response) => {
  const body = request.url === "/health" ? { status: "ok" } : { quote: QUOTES[Date.now() % QUOTES.length] };
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify(body));
});

server.listen(process.env.PORT); // a unix socket, which Node takes for a port
process.on("SIGTERM", () => server.close(() => process.exit(0))); // when every request has its answer
