// Sends one message of each kind with Segment's own client: node send.mjs URL WRITE_KEY WHO
import { Analytics } from "@segment/analytics-node";

const [host, writeKey, userId] = process.argv.slice(2);
const analytics = new Analytics({ writeKey, host, flushInterval: 100, maxRetries: 10 });
analytics.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
analytics.identify({ userId, anonymousId: `k-${userId}`, traits: { plan: "gold" } });
analytics.track({ userId, event: "Viewed", properties: { total: 9.5 } });
analytics.page({ userId, name: "home" });
analytics.screen({ userId, name: "cart" });
analytics.group({ userId, groupId: "g-1", traits: { employees: 3 } });
analytics.alias({ userId, previousId: `k-${userId}` });
await analytics.closeAndFlush({ timeout: 30_000 });
