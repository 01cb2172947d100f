import com.hivemq.embedded.EmbeddedHiveMQ;
import java.nio.file.Path;

/** HiveMQ CE in a process of its own: `java -cp 'lib/*' Broker.java FOLDER`, config.xml in FOLDER. */
final class Broker {
    public static void main(String[] arguments) throws Exception {
        System.setOut(System.err); // its log goes where the tests read
        Path folder = Path.of(arguments[0]);
        EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(folder)
                .withDataFolder(folder.resolve("data"))
                .withExtensionsFolder(folder.resolve("extensions"))
                .build();
        broker.start().join();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
        System.err.println("broker is running");
        Thread.currentThread().join();
    }
}
