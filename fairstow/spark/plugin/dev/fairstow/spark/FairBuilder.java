package dev.fairstow.spark;

import com.codahale.metrics.Timer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.spark.SparkContext;
import org.apache.spark.scheduler.Pool;
import org.apache.spark.scheduler.Schedulable;
import org.apache.spark.scheduler.SchedulableBuilder;
import org.apache.spark.scheduler.SchedulingMode;
import org.apache.spark.scheduler.Stage;
import org.apache.spark.scheduler.TaskSchedulerImpl;
import org.apache.spark.scheduler.TaskSetManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import scala.Option;

/**
 * Stands where Spark's own builder of pools stood: each stage still goes to it, and gets a rank.
 *
 * <p>Spark's FIFO order is by priority, then by stage; the rank is written into the priority, always
 * under the scheduler's lock, since tasks are offered under it. In FAIR mode Spark ignores
 * priorities, so that stages that name no pool go into one FIFO pool of ours beside the users' own.
 * Whatever fails here leaves Spark's own order, with one warning.
 */
final class FairBuilder implements SchedulableBuilder {
    static final String POOL = "fairstow";
    private static final Logger LOG = LoggerFactory.getLogger(FairBuilder.class);

    private final TaskSchedulerImpl spark;
    private final SchedulableBuilder stock;
    private final FairScheduler scheduler;
    private final Accounting accounting;
    private final Pool pool;
    private final Timer decisions = new Timer();
    private volatile boolean failed;

    FairBuilder(
            TaskSchedulerImpl spark,
            SchedulableBuilder stock,
            FairScheduler scheduler,
            Accounting accounting) {
        this.spark = spark;
        this.stock = stock;
        this.scheduler = scheduler;
        this.accounting = accounting;
        boolean fair = spark.schedulingMode().equals(SchedulingMode.FAIR());
        this.pool = fair ? new Pool(POOL, SchedulingMode.FIFO(), 0, 1) : spark.rootPool();
        if (fair) {
            spark.rootPool().addSchedulable(pool);
        }
    }

    @Override
    public Pool rootPool() {
        return stock.rootPool();
    }

    @Override
    public void buildPools() {
        stock.buildPools();
    }

    /** Called by Spark under its scheduler's lock, for every stage attempt. */
    @Override
    public void addTaskSetManager(Schedulable manager, Properties properties) {
        boolean ours = !failed && manager instanceof TaskSetManager && !namesPool(properties);
        if (ours && pool != spark.rootPool()) {
            pool.addSchedulable(manager);
        } else {
            stock.addTaskSetManager(manager, properties);
        }
        if (ours) {
            Timer.Context timed = decisions.time();
            try {
                admit((TaskSetManager) manager, properties == null ? new Properties() : properties);
                write();
            } catch (Throwable problem) {
                giveUp(problem);
            }
            timed.stop();
        }
    }

    /** Ranks all stages anew, because a job ended or turned out longer. */
    void rank() {
        if (failed) {
            return;
        }
        synchronized (spark) {
            try {
                resize();
                write();
            } catch (Throwable problem) {
                giveUp(problem);
            }
        }
    }

    /** What each stage cost. */
    Timer decisions() {
        return decisions;
    }

    boolean hasFailed() {
        return failed;
    }

    /** Back to Spark's own order, for stages that are there as well. */
    void restore() {
        synchronized (spark) {
            failed = true;
            for (Schedulable there : pool.schedulableQueue()) {
                if (there instanceof TaskSetManager) {
                    TaskSetManager manager = (TaskSetManager) there;
                    manager.priority_$eq(manager.taskSet().priority());
                }
            }
        }
    }

    private boolean namesPool(Properties properties) {
        return pool != spark.rootPool()
                && properties != null
                && properties.getProperty("spark.scheduler.pool") != null;
    }

    /** Executors come and go; none of Spark's events says how many tasks can run then. */
    private void resize() {
        SparkContext context = spark.sc();
        scheduler.resize(
                context.maxNumConcurrentTasks(
                        context.resourceProfileManager().defaultResourceProfile()));
    }

    private void admit(TaskSetManager manager, Properties properties) {
        resize();
        String id = Identity.job(properties, manager.taskSet().priority());
        scheduler.stage(
                manager,
                manager.stageId(),
                manager.numTasks(),
                id,
                Identity.user(properties, spark.sc().sparkUser()),
                names(manager.stageId(), properties));
    }

    private void write() {
        Map<Object, Integer> ranks = scheduler.ranks(pool.schedulableQueue());
        ranks.forEach((manager, rank) -> ((TaskSetManager) manager).priority_$eq(rank));
    }

    private List<String> names(int stage, Properties properties) {
        List<String> names = new ArrayList<>();
        String told = properties.getProperty(Identity.TEMPLATE);
        if (told != null) {
            names.add(Names.template(told));
        }
        String execution = Identity.execution(properties);
        if (execution != null) {
            names.addAll(accounting.plan(execution));
        }
        Option<Stage> known = spark.dagScheduler().stageIdToStage().get(stage);
        if (known.isDefined()) {
            names.add(Names.site(known.get().name()));
        }
        return names;
    }

    private void giveUp(Throwable problem) {
        restore();
        LOG.warn(
                "Fairstow can't order this application's stages any more; they run in Spark's own"
                        + " order until the application ends.",
                problem);
    }
}
