import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/**
 * One Elasticsearch node from the jars alone, on the loopback address, until it is killed.
 *
 * Arguments: HOME HTTP_PORT TRANSPORT_PORT. Has neither modules nor plugins but Netty's transport.
 */
public final class ElasticsearchMain {
  /** The constructor with plugins is for subclasses only. */
  private static final class NettyNode extends Node {
    NettyNode(Environment environment) {
      super(environment, List.of(Netty4Plugin.class), true);
    }
  }

  public static void main(String[] arguments) throws Exception {
    Path home = Path.of(arguments[0]);
    for (String folder : List.of("config", "plugins", "modules", "data", "logs")) {
      Files.createDirectories(home.resolve(folder));
    }
    Settings settings =
        Settings.builder()
            .put("path.home", home)
            .put("path.data", home.resolve("data"))
            .put("path.logs", home.resolve("logs"))
            .put("node.name", "n1")
            .put("cluster.name", "shopstream")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.type", "netty4")
            .put("http.port", arguments[1])
            .put("transport.type", "netty4")
            .put("transport.port", arguments[2])
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
    Path config = home.resolve("config");
    Node node =
        new NettyNode(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "n1"));
    node.start();
    CountDownLatch stopped = new CountDownLatch(1);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  try {
                    node.close();
                  } catch (java.io.IOException error) {
                    System.err.println(error);
                  }
                  stopped.countDown();
                }));
    stopped.await();
  }
}
