import { launch, open, signIn } from "./browser.js";
import { Server } from "./server.js";
const s = new Server(); await s.start(); const b = await launch(); const p = await open(b, s.url);
p.on("console", m => console.log("console", m.type(), m.text())); p.on("requestfailed", r => console.log("failed", r.url()));
p.on("response", r => r.status() >= 400 && console.log(r.status(), r.url()));
try { await signIn(p); await p.goto("/upload"); await p.waitForTimeout(1500); console.log(p.troubles); await p.screenshot({ path: "/tmp/dbg/upload.png", fullPage: true });
await p.goto("/home"); await p.screenshot({ path: "/tmp/dbg/home.png", fullPage: true }); await p.goto("/settings"); await p.screenshot({ path: "/tmp/dbg/settings.png", fullPage: true });}
finally { console.log(s.log.slice(-3000)); await b.close(); await s.end(); }
