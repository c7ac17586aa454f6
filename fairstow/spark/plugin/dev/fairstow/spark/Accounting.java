package dev.fairstow.spark;

import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.spark.executor.TaskMetrics;
import org.apache.spark.scheduler.JobSucceeded$;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerEvent;
import org.apache.spark.scheduler.SparkListenerJobEnd;
import org.apache.spark.scheduler.SparkListenerJobStart;
import org.apache.spark.scheduler.SparkListenerTaskEnd;
import org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionEnd;
import org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart;

/**
 * What jobs really got, from Spark's events: the time that each task held its slot.
 *
 * <p>Runs on a queue of the listener bus of its own, so it delays nobody else's listener.
 */
final class Accounting extends SparkListener {
    private static final long APART_NS = 100_000_000L;
    private static final int PLANS = 1_000;

    private final FairScheduler scheduler;
    private final Map<Integer, String> actions = new HashMap<>();
    private final Map<String, List<String>> plans =
            Collections.synchronizedMap(
                    new LinkedHashMap<String, List<String>>() {
                        @Override
                        protected boolean removeEldestEntry(Map.Entry<String, List<String>> eldest) {
                            return size() > PLANS;
                        }
                    });
    private Runnable changed = () -> {};
    private long told;

    Accounting(FairScheduler scheduler) {
        this.scheduler = scheduler;
    }

    void onChange(Runnable changed) {
        this.changed = changed;
    }

    /** Names of an SQL execution's plan; none if its start wasn't heard of yet. */
    List<String> plan(String execution) {
        return plans.getOrDefault(execution, Collections.emptyList());
    }

    @Override
    public void onJobStart(SparkListenerJobStart event) {
        Properties properties = event.properties() == null ? new Properties() : event.properties();
        actions.put(event.jobId(), Identity.job(properties, event.jobId()));
    }

    @Override
    public void onTaskEnd(SparkListenerTaskEnd event) {
        TaskMetrics metrics = event.taskMetrics();
        boolean changes =
                scheduler.task(
                        event.stageId(),
                        event.taskInfo().duration() / 1e3,
                        metrics == null ? 0 : metrics.inputMetrics().bytesRead(),
                        metrics == null ? 0 : metrics.shuffleWriteMetrics().bytesWritten());
        if (changes && System.nanoTime() - told > APART_NS) {
            told = System.nanoTime();
            changed.run();
        }
    }

    @Override
    public void onJobEnd(SparkListenerJobEnd event) {
        String id = actions.remove(event.jobId());
        if (id == null) {
            return;
        }
        if (event.jobResult() != JobSucceeded$.MODULE$) {
            scheduler.failed(id);
        }
        if (id.equals(Identity.action(event.jobId()))) {
            end(id);
        }
    }

    @Override
    public void onOtherEvent(SparkListenerEvent event) {
        if (event instanceof SparkListenerSQLExecutionStart) {
            SparkListenerSQLExecutionStart start = (SparkListenerSQLExecutionStart) event;
            plans.put("" + start.executionId(), Names.plan(start.physicalPlanDescription()));
        } else if (event instanceof SparkListenerSQLExecutionEnd) {
            long execution = ((SparkListenerSQLExecutionEnd) event).executionId();
            plans.remove("" + execution);
            end(Identity.sql(execution));
        }
    }

    private void end(String id) {
        scheduler.end(id);
        changed.run();
    }
}
