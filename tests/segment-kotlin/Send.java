// Sends one message of each kind with Segment's own Kotlin client: java -cp … Send.java HOST WRITE_KEY WHO
import com.segment.analytics.kotlin.core.RequestFactory;
import com.segment.analytics.kotlin.core.compat.ConfigurationBuilder;
import com.segment.analytics.kotlin.core.compat.JavaAnalytics;
import com.segment.analytics.kotlin.core.utilities.InMemoryStorageProvider;
import java.net.HttpURLConnection;
import java.net.URL;
import java.util.Map;

public class Send {
    /** What the client does by itself, with http in place of https: this machine has no certificate. */
    static class PlainHttp extends RequestFactory {
        @Override
        public HttpURLConnection openConnection(String url) {
            try {
                URL plain = new URL(url.replaceFirst("^https:", "http:"));
                HttpURLConnection connection = (HttpURLConnection) plain.openConnection();
                connection.setRequestProperty("User-Agent", "analytics-kotlin/1.27.0");
                connection.setDoInput(true);
                return connection;
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        String host = arguments[0] + "/v1";
        var configuration = new ConfigurationBuilder(arguments[1])
            .setApplication("shop")
            .setApiHost(host)
            .setCdnHost(host)
            .setFlushAt(100)
            .setRequestFactory(new PlainHttp())
            .build();
        configuration.setStorageProvider(new InMemoryStorageProvider());
        var analytics = new JavaAnalytics(configuration);
        analytics.identify(arguments[2], Map.of("plan", "gold"));
        analytics.track("Viewed", Map.of("total", 9.5));
        analytics.screen("Cart", Map.of(), "Shop");
        analytics.group("g-1", Map.of("employees", 3));
        analytics.alias(arguments[2] + "-2");
        Thread.sleep(2_000); // it starts up, and reads its settings
        for (int look = 0; look < 50 && (look == 0 || !analytics.pendingUploads().isEmpty()); look++) {
            analytics.flush();
            Thread.sleep(300);
        }
        System.exit(analytics.pendingUploads().isEmpty() ? 0 : 1);
    }
}
