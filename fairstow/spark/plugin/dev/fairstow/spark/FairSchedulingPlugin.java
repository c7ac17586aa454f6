package dev.fairstow.spark;

import com.codahale.metrics.Gauge;
import com.codahale.metrics.MetricRegistry;
import com.codahale.metrics.Timer;
import java.lang.reflect.Field;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkContext;
import org.apache.spark.api.plugin.DriverPlugin;
import org.apache.spark.api.plugin.ExecutorPlugin;
import org.apache.spark.api.plugin.PluginContext;
import org.apache.spark.api.plugin.SparkPlugin;
import org.apache.spark.scheduler.SchedulableBuilder;
import org.apache.spark.scheduler.TaskSchedulerImpl;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Fair queueing among the users of one Spark application: spark.plugins names this class.
 *
 * <p>Settings: spark.fairstow.weight.USER (1 if not given). Spark creates the plugin before its
 * scheduler, so it takes hold when metrics are registered, before the first job. It replaces one
 * private field of Spark's scheduler; where that can't be had, Spark's own order stays, with one
 * warning.
 */
public class FairSchedulingPlugin implements SparkPlugin {
    private static final Logger LOG = LoggerFactory.getLogger(FairSchedulingPlugin.class);
    private static final String WEIGHT = "spark.fairstow.weight.";

    private static volatile Driver current;

    @Override
    public DriverPlugin driverPlugin() {
        return new Driver(field());
    }

    @Override
    public ExecutorPlugin executorPlugin() {
        return null;
    }

    /** The private field of TaskSchedulerImpl that holds what adds stages to pools. */
    protected String field() {
        return "schedulableBuilder";
    }

    /** Changes a user's weight from now on. */
    public static void reweigh(String user, double weight) {
        Driver driver = running();
        driver.scheduler.reweigh(user, weight);
        driver.builder.rank();
    }

    /** Settings by which a user's template is cut into tasks of about so many seconds. */
    public static Map<String, String> partitioning(
            String user, String template, double targetSeconds) {
        return running().scheduler.partitioning(user, template, targetSeconds);
    }

    /** Jobs in the order in which they run: user, job, virtual finish from now, estimate, served. */
    public static List<String> explain() {
        return running().scheduler.explain();
    }

    /** How long this application's stages took to be ranked; also in Spark's metrics. */
    public static Timer decisions() {
        return running().builder.decisions();
    }

    /** True while this application's stages are ordered by Fairstow. */
    public static boolean isActive() {
        return current != null;
    }

    private static Driver running() {
        Driver driver = current;
        if (driver == null) {
            throw new IllegalStateException(
                    "Fairstow orders no application here: it stopped, or spark.plugins doesn't name"
                            + " dev.fairstow.spark.FairSchedulingPlugin.");
        }
        return driver;
    }

    private static final class Driver implements DriverPlugin {
        private final String fieldName;
        private SparkContext context;
        private TaskSchedulerImpl spark;
        private Field field;
        private SchedulableBuilder stock;
        private FairScheduler scheduler;
        private FairBuilder builder;
        private Accounting accounting;

        Driver(String fieldName) {
            this.fieldName = fieldName;
        }

        @Override
        public Map<String, String> init(SparkContext context, PluginContext plugin) {
            this.context = context;
            return Collections.emptyMap();
        }

        @Override
        public void registerMetrics(String application, PluginContext plugin) {
            try {
                take(plugin.conf());
                register(plugin.metricRegistry());
            } catch (Throwable problem) {
                LOG.warn(
                        "Fairstow can't order the stages of this Spark ({}); they run in Spark's own"
                                + " order.",
                        context.version(),
                        problem);
            }
        }

        private void take(SparkConf conf) throws ReflectiveOperationException {
            spark = (TaskSchedulerImpl) context.taskScheduler();
            field = TaskSchedulerImpl.class.getDeclaredField(fieldName);
            field.setAccessible(true);
            stock = (SchedulableBuilder) field.get(spark);
            scheduler =
                    new FairScheduler(
                            () -> System.nanoTime() / 1e9, user -> conf.getDouble(WEIGHT + user, 1));
            accounting = new Accounting(scheduler);
            builder = new FairBuilder(spark, stock, scheduler, accounting);
            accounting.onChange(builder::rank);
            context.listenerBus().addToQueue(accounting, FairBuilder.POOL);
            synchronized (spark) {
                field.set(spark, builder);
            }
            current = this;
        }

        private void register(MetricRegistry metrics) {
            metrics.register("jobs", (Gauge<Integer>) scheduler::waiting);
            metrics.register("users", (Gauge<Integer>) scheduler::users);
            metrics.register("decisions", builder.decisions());
            metrics.register("failedOpen", (Gauge<Integer>) () -> builder.hasFailed() ? 1 : 0);
        }

        @Override
        public void shutdown() {
            if (current != this) {
                return;
            }
            current = null;
            context.removeSparkListener(accounting);
            builder.restore();
            try {
                field.set(spark, stock);
            } catch (ReflectiveOperationException problem) {
                LOG.warn("Fairstow couldn't put Spark's own builder of pools back.", problem);
            }
        }
    }
}
