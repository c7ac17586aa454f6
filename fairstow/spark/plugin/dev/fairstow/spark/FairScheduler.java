package dev.fairstow.spark;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.WeakHashMap;
import java.util.function.DoubleSupplier;
import java.util.function.Function;

/**
 * Which job a stage belongs to, what it got, and the rank that it runs in; knows nothing of Spark.
 *
 * <p>Told of stages by FairBuilder and of what ran by Accounting. Keys of stages are whatever the
 * caller sorts (weakly held). A rank is a place in the queue's order, so it is a small number
 * however long the application runs. All methods may be called from any thread.
 */
final class FairScheduler {
    private static final double LOST_AFTER_S = 600;
    private static final int STAGES = 10_000;

    static final class Job {
        final String id;
        final String queued;
        final String user;
        final List<String> names;
        double seen;
        double served;
        double scanned;
        double shuffled;
        long tasks;
        boolean over;
        boolean failed;
        int rank;

        Job(String id, String queued, String user, List<String> names) {
            this.id = id;
            this.queued = queued;
            this.user = user;
            this.names = names;
        }
    }

    private final FairQueue queue;
    private final DoubleSupplier clock;
    private final Function<String, Double> weights;
    private final Estimates estimates = new Estimates();
    private final Map<String, Double> reweighed = new HashMap<>();
    private final Map<String, Job> jobs = new HashMap<>();
    private final Map<String, Job> byQueued = new HashMap<>();
    private final Map<Object, Job> managers = new WeakHashMap<>();
    private final Map<Integer, Job> stages =
            new LinkedHashMap<Integer, Job>() {
                @Override
                protected boolean removeEldestEntry(Map.Entry<Integer, Job> eldest) {
                    return size() > STAGES;
                }
            };
    private double cores = -1;
    private long number;

    FairScheduler(DoubleSupplier clock, Function<String, Double> weights) {
        this.clock = clock;
        this.weights = weights;
        this.queue = new FairQueue(0, clock.getAsDouble());
    }

    synchronized void resize(double to) {
        if (to != cores) {
            cores = to;
            queue.resize(clock.getAsDouble(), to);
        }
    }

    /** A stage is ready: its job arrives, or goes on. */
    synchronized void stage(
            Object manager, int stage, int tasks, String id, String user, List<String> names) {
        double now = clock.getAsDouble();
        Job job = jobs.get(id);
        if (job == null) {
            // A late stage may call a job back that is over and not yet drained: ids are ours.
            job = new Job(id, ++number + " " + id, user, names);
            queue.arrive(now, job.queued, user, estimates.work(user, names), weight(user));
            jobs.put(id, job);
            byQueued.put(job.queued, job);
        } else if (job.served >= queue.work(job.queued)) {
            double each = job.tasks == 0 ? Estimates.UNKNOWN : job.served / job.tasks;
            queue.revise(now, job.queued, job.served + each * tasks);
        }
        job.seen = now;
        managers.put(manager, job);
        stages.put(stage, job);
    }

    /** A task ended; returns true if the order may have changed. */
    synchronized boolean task(int stage, double seconds, double scanned, double shuffled) {
        Job job = stages.get(stage);
        if (job == null) {
            return false;
        }
        double now = clock.getAsDouble();
        if (job.over) {
            queue.charge(now, job.user, seconds, weight(job.user));
            return true;
        }
        job.seen = now;
        job.served += seconds;
        job.scanned += scanned;
        job.shuffled += shuffled;
        job.tasks++;
        return queue.served(now, job.queued, job.served);
    }

    synchronized void failed(String id) {
        Job job = jobs.get(id);
        if (job != null) {
            job.failed = true;
        }
    }

    synchronized void end(String id) {
        Job job = jobs.remove(id);
        if (job == null) {
            return;
        }
        job.over = true;
        byQueued.remove(job.queued);
        queue.finish(clock.getAsDouble(), job.queued, job.served);
        if (!job.failed && job.served > 0) {
            estimates.learn(
                    job.user,
                    job.names,
                    new Estimates.Past(job.served, job.scanned, job.shuffled));
        }
    }

    /** Ranks of the managers that are there; one whose job is over keeps the rank it had. */
    synchronized Map<Object, Integer> ranks(Iterable<?> there) {
        endWhatIsLost();
        int rank = 0;
        for (FairQueue.Job queued : queue.order()) {
            byQueued.get(queued.id).rank = rank++;
        }
        Map<Object, Integer> ranks = new LinkedHashMap<>();
        for (Object manager : there) {
            Job job = managers.get(manager);
            if (job != null) {
                ranks.put(manager, job.rank);
            }
        }
        return ranks;
    }

    synchronized void reweigh(String user, double weight) {
        queue.reweigh(clock.getAsDouble(), user, weight);
        reweighed.put(user, weight);
    }

    synchronized Map<String, String> partitioning(String user, String template, double target) {
        List<String> names = new ArrayList<>();
        names.add(Names.template(template));
        Estimates.Past past = estimates.past(user, names);
        return past == null
                ? new HashMap<>()
                : RuntimePartitioning.settings(
                        past.work, past.scanned, past.shuffled, target, cores);
    }

    synchronized int waiting() {
        return jobs.size();
    }

    synchronized int users() {
        return queue.activeUsers();
    }

    /** "user id virtual-finish estimate served" of each job in order, for whoever asks why. */
    synchronized List<String> explain() {
        queue.advance(clock.getAsDouble());
        List<String> lines = new ArrayList<>();
        for (FairQueue.Job queued : queue.order()) {
            Job job = byQueued.get(queued.id);
            lines.add(
                    String.format(
                            java.util.Locale.ROOT,
                            "%s\t%s\t%.3f\t%.3f\t%.3f",
                            job.user,
                            job.id,
                            queued.finish() - queue.virtual(),
                            queue.work(job.queued),
                            job.served));
        }
        return lines;
    }

    private double weight(String user) {
        Double changed = reweighed.get(user);
        return changed != null ? changed : weights.apply(user);
    }

    /** Events can be dropped by a listener bus that overflows: no job stays for ever. */
    private void endWhatIsLost() {
        double before = clock.getAsDouble() - LOST_AFTER_S;
        Set<Job> running = new HashSet<>(managers.values());
        List<String> lost = new ArrayList<>();
        for (Job job : jobs.values()) {
            if (job.seen < before && !running.contains(job)) {
                lost.add(job.id);
            }
        }
        lost.forEach(this::end);
    }
}
