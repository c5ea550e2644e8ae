// A page's own code with Segment's browser client, pointed at the gateway by its public option.
import { AnalyticsBrowser } from "@segment/analytics-next";

const cdnURL = window.gateway;
const analytics = AnalyticsBrowser.load({ writeKey: "browser-web-key", cdnURL });
window.sent = (async () => {
  await analytics.page("Shop", "Home", { shelf: 3 });
  await analytics.identify("ana", { plan: "gold" });
  await analytics.track("Viewed", { price: 19.5 });
  await analytics.group("g-1", { employees: 3 });
  await analytics.screen("Cart");
  await analytics.alias("ana-2");
  const user = await analytics.user();
  return user.anonymousId();
})();
